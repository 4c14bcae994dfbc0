// Arrays whose frameworks let them begin anywhere: at odd offsets of a buffer of bytes.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>

#include "core/array.h"

namespace fusedops {

// The array where it begins at a multiple of an element's size, as all that reads it expects. Where it does not, the
// same in `memory`, to which all that lies between its elements is copied, too.
inline ArrayView aligned(ArrayView array, std::unique_ptr<std::byte[]>& memory) {
  const int64_t item = size_of(array.dtype);
  if (is_aligned(array, item) || element_count(array.shape) == 0) return array;
  int64_t first = 0, last = 0;  // from the array's beginning, in elements
  for (size_t i = 0; i < array.shape.size(); ++i)
    (array.strides[i] < 0 ? first : last) += (array.shape[i] - 1) * array.strides[i];
  memory = std::make_unique_for_overwrite<std::byte[]>((last - first + 1) * item);
  std::memcpy(memory.get(), static_cast<const std::byte*>(array.data) + first * item, (last - first + 1) * item);
  array.data = memory.get() - first * item;
  return array;
}

}  // namespace fusedops
