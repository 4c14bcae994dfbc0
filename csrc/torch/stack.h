// The arguments and outputs of a boxed function. Every value on the stack is ours to free, so a boxed function takes
// all of them before it does anything that can throw; hence these never throw.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <vector>

#include "torch/tensor.h"

namespace fusedops::torch {

inline Tensor take_tensor(StableIValue value) noexcept { return Tensor(reinterpret_cast<TensorHandle>(value)); }

inline double take_double(StableIValue value) noexcept { return std::bit_cast<double>(value); }

inline int64_t take_int(StableIValue value) noexcept { return static_cast<int64_t>(value); }

// An optional argument is null or a pointer to its value on the heap.
template <class Take>
auto take_optional(StableIValue value, Take take) noexcept -> std::optional<decltype(take(value))> {
  auto* boxed = reinterpret_cast<StableIValue*>(value);
  if (!boxed) return std::nullopt;
  const StableIValue content = *boxed;
  // Before torch 2.13 it came from a plain new expression.
  if (functions().torch_delete_stable_ivalue)
    functions().torch_delete_stable_ivalue(boxed);
  else
    delete boxed;
  return take(content);
}

inline StableIValue give(Tensor tensor) noexcept { return reinterpret_cast<StableIValue>(tensor.release()); }

inline void give_all(StableIValue* stack, std::vector<Tensor> tensors) noexcept {
  for (Tensor& tensor : tensors) *stack++ = give(std::move(tensor));
}

}  // namespace fusedops::torch
