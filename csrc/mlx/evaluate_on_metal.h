// What a node of MLX's graph does on a GPU with Metal.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/errors.h"
#include "mlx/metal.h"

namespace fusedops::mlx {

// As kernels find the array: Metal's buffers start where any vector may, so that the offset in the buffer tells how the
// array is aligned. Throws where it begins within an element: mx.view() takes bytes from anywhere, Metal does not.
inline ArrayView view_in_buffer(const mx::array& array) {
  ArrayView view = view_of(array);
  view.data = reinterpret_cast<const void*>(static_cast<uintptr_t>(array.offset()));
  if (array.size() > 0 && !is_aligned(view, size_of(view.dtype)))
    throw ValueError("an array must begin at a multiple of its element's " + std::to_string(size_of(view.dtype)) +
                     " bytes, got one that begins at byte " + std::to_string(array.offset()) + " of its buffer");
  return view;
}

template <class Operator>
void evaluate_on_metal(const Operator& op, const Arrays& inputs, Arrays& outputs, mx::Stream stream) {
  std::vector<ArrayView> views;
  for (const mx::array& input : inputs) views.push_back(view_in_buffer(input));
  encode(op.plan(op.problem(inputs), views), in_place(inputs, op.present()), outputs, stream);
}

}  // namespace fusedops::mlx
