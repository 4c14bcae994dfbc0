// What the operators' vmap rules share. A mapped input has an axis >= 0, an unmapped one -1.
#pragma once

#include "mlx/arrays.h"
#include "mlx/ops.h"

namespace fusedops::mlx {

// The extent of the mapped axis; at least one input is mapped.
inline int mapped_extent(const Arrays& inputs, const std::vector<int>& axes) {
  for (size_t i = 0; i < inputs.size(); ++i)
    if (axes[i] >= 0) return inputs[i].shape(axes[i]);
  return 1;
}

// The input with its mapped axis in front: of extent 1 if it is not mapped.
inline mx::array mapped_in_front(const mx::array& input, int axis, mx::Stream stream) {
  return axis < 0 ? mx::expand_dims(input, 0, stream) : mx::moveaxis(input, axis, 0, stream);
}

// The same, repeated for all of an axis that is not mapped.
inline mx::array mapped_in_full(const mx::array& input, int axis, int extent, mx::Stream stream) {
  mx::array moved = mapped_in_front(input, axis, stream);
  mx::Shape shape = moved.shape();
  shape[0] = extent;
  return mx::broadcast_to(moved, shape, stream);
}

// A mapped row of shape (C,) for each element of arrays of `ndim` dimensions: (N, 1, ..., 1, C).
inline mx::array mapped_row(const mx::array& input, int axis, size_t ndim, mx::Stream stream) {
  mx::array row = mx::moveaxis(input, axis, 0, stream);
  while (row.ndim() < ndim) row = mx::expand_dims(row, 1, stream);
  return row;
}

}  // namespace fusedops::mlx
