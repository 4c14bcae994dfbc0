// Masks whose keys do not lie side by side, such as a transposed position bias. Kernels read a mask row by row, once
// for each head, and such rows cost more than the attention itself: so they are copied once.
#pragma once

#include <cstddef>
#include <memory>

#include "core/array.h"
#include "cpu/executor.h"

namespace fusedops::cpu {

// Whether neighbouring keys' elements are neither neighbours nor one and the same.
bool has_keys_apart(const ArrayView& mask);

// What is broadcast stays so, and takes no memory.
class CopiedMask {
 public:
  CopiedMask(const ArrayView& mask, Executor& executor);

  const ArrayView& view() const { return view_; }

 private:
  ArrayView view_;
  std::unique_ptr<std::byte[]> memory_;
};

}  // namespace fusedops::cpu
