// gelu(gate) * up. Shazeer 2020, https://arxiv.org/abs/2002.05202
#pragma once

#include <optional>

#include "core/array.h"
#include "core/plan.h"
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

// The up half of a packed gate, whose rows start `columns` elements after the gate's.
ArrayView packed_up(ArrayView gate, int64_t columns);

// How Metal computes it; of the arrays only their layout counts.
Plan geglu_plan(const GegluProblem& problem, const ArrayView& gate, const std::optional<ArrayView>& up);

}  // namespace fusedops
