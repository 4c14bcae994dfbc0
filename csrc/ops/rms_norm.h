// y = x * rsqrt(mean(x^2) + eps) * (weight + weight_offset), over the last dimension; with a residual, x + residual
// (rounded to x's dtype) takes x's place and is returned too. Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467
#pragma once

#include <optional>

#include "core/array.h"
#include "core/plan.h"

namespace fusedops {

struct RmsNormProblem {
  DType dtype;
  Shape shape;
  int64_t rows;
  int64_t columns;
  std::optional<DType> weight_dtype;
  bool has_residual;
  float eps;
  float weight_offset;

  ArrayInfo output() const { return {dtype, shape}; }
  ArrayInfo reciprocal_rms() const { return {DType::float32, Shape(shape.begin(), shape.end() - 1)}; }
};

// Throws ValueError or TypeError.
RmsNormProblem rms_norm_problem(const ArrayInfo& x, const std::optional<ArrayInfo>& weight,
                                const std::optional<ArrayInfo>& residual, double eps, double weight_offset);

// How Metal computes it. The arrays are those that the problem was made of; only their layout counts. The outputs are
// y, the sum where there is a residual, and the reciprocal of the root mean square where asked for.
Plan rms_norm_plan(const RmsNormProblem& problem, const ArrayView& x, const std::optional<ArrayView>& weight,
                   const std::optional<ArrayView>& residual, bool with_reciprocal_rms);

}  // namespace fusedops
