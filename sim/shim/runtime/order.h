// The scheduler's choices: in which order lanes, SIMD-groups and threadgroups run.
#pragma once
#include <bit>
#include <cstdint>
#include <utility>
#include <vector>

namespace simulator {

// A permutation of 0 ... size - 1 that takes no memory. Each round is invertible in the integers below the next power
// of two: adding, multiplying by an odd number and an xor with the upper half are. What falls beyond `size` is mapped
// again until it does not (cycle walking: Black and Rogaway, Ciphers with Arbitrary Finite Domains, 2002).
class Permutation {
 public:
  Permutation(uint64_t size, const uint64_t (&keys)[3]) : size_(size), bits_(std::bit_width(size - 1)) {
    for (int i = 0; i < 3; i++) keys_[i] = keys[i];
  }

  uint64_t operator()(uint64_t i) const {
    do
      for (uint64_t key : keys_) {
        i = (i + (key >> 1)) * (key | 1) & mask();
        i ^= i >> (bits_ + 1) / 2;
      }
    while (i >= size_);
    return i;
  }

 private:
  uint64_t mask() const { return bits_ ? ~uint64_t(0) >> (64 - bits_) : 0; }

  uint64_t size_, keys_[3];
  int bits_;
};

class Order {
 public:
  enum Kind : int { forward, reverse, random };

  Order() = default;
  Order(Kind kind, uint64_t seed) : kind_(kind), state_(seed * 0x9e3779b97f4a7c15 + 1) {}

  bool is_random() const { return kind_ == random; }

  uint32_t below(uint32_t bound) { return uint32_t(next() >> 33) % bound; }

  // Fills `items` with 0 ... size - 1 in the order to take.
  void arrange(std::vector<int>& items) {
    const int count = int(items.size());
    for (int i = 0; i < count; i++) items[i] = kind_ == reverse ? count - 1 - i : i;
    if (kind_ != random) return;
    for (int i = count - 1; i > 0; i--) std::swap(items[i], items[below(i + 1)]);
  }

  // Calls visit(i) with 0 ... size - 1 in the order to take until it returns false. Takes no memory.
  template <class Visit>
  void for_each(uint64_t size, Visit visit) {
    const Permutation shuffled(size, {next(), next(), next()});
    for (uint64_t i = 0; i < size; i++)
      if (!visit(kind_ == random ? shuffled(i) : kind_ == reverse ? size - 1 - i : i)) return;
  }

 private:
  uint64_t next() {  // xorshift64
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }

  Kind kind_ = forward;
  uint64_t state_ = 1;
};

}  // namespace simulator
