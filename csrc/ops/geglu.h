// gelu(gate) * up. Shazeer 2020, https://arxiv.org/abs/2002.05202
#pragma once

#include <optional>

#include "core/array.h"
#include "ops/gelu.h"

namespace fusedops {

struct GegluProblem {
  DType dtype;
  Shape shape;  // of the output
  GeluForm form;
  bool packed;  // gate holds [gate, up] along its last dimension

  ArrayInfo output() const { return {dtype, shape}; }
};

// Throws ValueError or TypeError. Without `up` the problem is the packed one.
GegluProblem geglu_problem(const ArrayInfo& gate, const std::optional<ArrayInfo>& up, GeluForm form);

}  // namespace fusedops
