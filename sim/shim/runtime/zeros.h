// An array of zeros that, if it is large, takes memory only where it is used: what is known of every byte of a buffer.
#pragma once
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>

namespace simulator {

template <class T>
class Zeros {
 public:
  Zeros() = default;
  explicit Zeros(size_t count) : items_(static_cast<T*>(std::calloc(count + 1, sizeof(T)))) {
    if (!items_) throw std::bad_alloc();
  }
  T& operator[](size_t i) { return items_.get()[i]; }

 private:
  struct Free {
    void operator()(T* items) const { std::free(items); }
  };
  std::unique_ptr<T, Free> items_;
};

}  // namespace simulator
