// An array of zeros that takes memory only where it is written to: what is known of every byte of a buffer.
#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <new>
#include <utility>

namespace simulator {

template <class T>
class Zeros {
 public:
  Zeros() = default;
  explicit Zeros(size_t count) : size_(count * sizeof(T)) {
    if (!size_) return;
    void* const mapped =
        mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) throw std::bad_alloc();
    items_ = static_cast<T*>(mapped);
  }
  Zeros(Zeros&& other) noexcept : items_(std::exchange(other.items_, nullptr)), size_(other.size_) {}
  Zeros& operator=(Zeros&& other) noexcept {
    std::swap(items_, other.items_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Zeros() {
    if (items_) munmap(items_, size_);
  }

  T& operator[](size_t i) { return items_[i]; }

 private:
  T* items_ = nullptr;
  size_t size_ = 0;  // in bytes
};

}  // namespace simulator
