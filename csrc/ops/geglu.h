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
  bool packed;      // gate holds both halves along its last dimension
  bool gate_first;  // of these

  ArrayInfo output() const { return {dtype, shape}; }
};

// Throws ValueError or TypeError. Without `up` the problem is the packed one.
GegluProblem geglu_problem(const ArrayInfo& gate, const std::optional<ArrayInfo>& up, GeluForm form, bool gate_first);

struct GegluHalves {
  ArrayView gate, up;
};

// Both of the output's shape, also where they lie in one array.
GegluHalves geglu_halves(const GegluProblem& problem, const ArrayView& gate, const std::optional<ArrayView>& up);

// How Metal computes it; of the arrays only their layout counts.
Plan geglu_plan(const GegluProblem& problem, const ArrayView& gate, const std::optional<ArrayView>& up);

}  // namespace fusedops
