// Memory for the arrays that primitives make.
#pragma once

#include <new>
#include <utility>

#include "mlx/allocator.h"
#include "mlx/array.h"

namespace fusedops::mlx {

// MLX's allocator returns null where there is not so much.
inline void allocate(::mlx::core::array& array) {
  auto data = ::mlx::core::allocator::malloc(array.nbytes());
  if (array.nbytes() > 0 && !data.buffer().ptr()) throw std::bad_alloc();
  array.set_data(std::move(data));
}

}  // namespace fusedops::mlx
