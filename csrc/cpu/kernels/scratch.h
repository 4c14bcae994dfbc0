// Memory for the time of one call, aligned for any vector.
#pragma once

#include <cstdint>
#include <new>

namespace fusedops::cpu::FUSEDOPS_ISA {

template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t count)
      : data_(count ? static_cast<T*>(::operator new(count * sizeof(T), kAlignment)) : nullptr) {}
  ~Scratch() { ::operator delete(data_, kAlignment); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  operator T*() { return data_; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  T* data_;
};

}  // namespace fusedops::cpu::FUSEDOPS_ISA
