// The arguments and outputs of a boxed function.
//
// Every value on the stack is ours to free, so a boxed function takes
// all of them before it does anything that can throw; hence these never throw.
//
// In a direct call (direct.h), tensors and optional numbers are pointers to what the caller keeps: their lowest bit,
// which is 0 in every pointer of torch's, says so.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <vector>

#include "torch/tensor.h"

namespace fusedops::torch {

template <class T>
StableIValue lend(T& object) noexcept {
  static_assert(alignof(T) > 1);
  return reinterpret_cast<StableIValue>(&object) | 1;
}

// Null where it is not lent.
template <class T>
T* lent(StableIValue value) noexcept {
  return value & 1 ? reinterpret_cast<T*>(value - 1) : nullptr;
}

inline Tensor take_tensor(StableIValue value) noexcept {
  if (Loan* loan = lent<Loan>(value)) return Tensor(*loan);
  return Tensor(reinterpret_cast<TensorHandle>(value));
}

inline double take_double(StableIValue value) noexcept { return std::bit_cast<double>(value); }

inline int64_t take_int(StableIValue value) noexcept { return static_cast<int64_t>(value); }

inline bool take_bool(StableIValue value) noexcept { return value != 0; }

// An optional argument is null or a pointer to its value on the heap.
template <class Take>
auto take_optional(StableIValue value, Take take) noexcept -> std::optional<decltype(take(value))> {
  if (const auto* content = lent<StableIValue>(value)) return take(*content);
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

inline StableIValue give(Tensor tensor) noexcept {
  if (Loan* loan = tensor.loan()) return lend(*loan);
  return reinterpret_cast<StableIValue>(tensor.release());
}

inline void give_all(StableIValue* stack, std::vector<Tensor> tensors) noexcept {
  for (Tensor& tensor : tensors) *stack++ = give(std::move(tensor));
}

}  // namespace fusedops::torch
