// The scheduler's choices: in which order lanes, SIMD-groups and threadgroups run.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

namespace simulator {

class Order {
 public:
  enum Kind : int { forward, reverse, random };

  Order() = default;
  Order(Kind kind, uint64_t seed) : kind_(kind), state_(seed * 0x9e3779b97f4a7c15 + 1) {}

  bool is_random() const { return kind_ == random; }

  uint32_t below(uint32_t bound) {  // xorshift64
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return uint32_t(state_ >> 33) % bound;
  }

  // Fills `items` with 0 ... size - 1 in the order to take.
  void arrange(std::vector<int>& items) {
    const int count = int(items.size());
    for (int i = 0; i < count; i++) items[i] = kind_ == reverse ? count - 1 - i : i;
    if (kind_ != random) return;
    for (int i = count - 1; i > 0; i--) std::swap(items[i], items[below(i + 1)]);
  }

 private:
  Kind kind_ = forward;
  uint64_t state_ = 1;
};

}  // namespace simulator
