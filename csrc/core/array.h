// How arrays of any framework look to the operators.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/dtype.h"

namespace fusedops {

using Shape = std::vector<int64_t>;
using Strides = std::vector<int64_t>;  // in elements

// More than any memory holds, and so few that sizes and grids made of it do not overflow.
inline constexpr int64_t kTooManyElements = int64_t{1} << 50;

// At most kTooManyElements: arrays without memory (empty ones, strides of 0) may have any extents.
inline int64_t element_count(const Shape& shape) {
  int64_t count = 1;
  for (int64_t extent : shape)
    if (extent == 0) return 0;
  for (int64_t extent : shape)
    if (__builtin_mul_overflow(count, extent, &count) || count > kTooManyElements) return kTooManyElements;
  return count;
}

// What validation needs. MLX knows no strides before an array is evaluated, so they are not part of it.
struct ArrayInfo {
  DType dtype;
  Shape shape;
  std::string_view given_dtype = {};  // what a dtype that is `other` is called where it comes from, for errors

  bool operator==(const ArrayInfo&) const = default;
};

inline std::string_view dtype_name(const ArrayInfo& array) {
  return array.dtype == DType::other && !array.given_dtype.empty() ? array.given_dtype : name_of(array.dtype);
}

// What executors read: any strides, 0 included.
struct ArrayView {
  const void* data = nullptr;
  DType dtype = DType::float32;
  Shape shape;
  Strides strides;
};

inline Strides contiguous_strides(const Shape& shape) {
  Strides strides(shape.size());
  uint64_t stride = 1;  // unsigned: extents of an empty array may have a product beyond 64 bits
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = static_cast<int64_t>(stride);
    stride *= shape[i] > 0 ? static_cast<uint64_t>(shape[i]) : 1;
  }
  return strides;
}

// Whether the array's first element lies at a multiple of `bytes`.
inline bool is_aligned(const ArrayView& array, size_t bytes) {
  return reinterpret_cast<uintptr_t>(array.data) % bytes == 0;
}

}  // namespace fusedops
