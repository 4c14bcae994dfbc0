// What a node of MLX's graph does on a GPU with Metal.
#pragma once

#include <cstdint>
#include <vector>

#include "mlx/metal.h"

namespace fusedops::mlx {

// As kernels find the array: Metal's buffers start where any vector may, so that the offset in the buffer tells how the
// array is aligned.
inline ArrayView view_in_buffer(const mx::array& array) {
  ArrayView view = view_of(array);
  view.data = reinterpret_cast<const void*>(static_cast<uintptr_t>(array.offset()));
  return view;
}

template <class Operator>
void evaluate_on_metal(const Operator& op, const Arrays& inputs, Arrays& outputs, mx::Stream stream) {
  std::vector<ArrayView> views;
  for (const mx::array& input : inputs) views.push_back(view_in_buffer(input));
  encode(op.plan(op.problem(inputs), views), in_place(inputs, op.present()), outputs, stream);
}

}  // namespace fusedops::mlx
