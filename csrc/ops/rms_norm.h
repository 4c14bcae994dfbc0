// y = x * rsqrt(mean(x^2) + eps) * (weight + weight_offset), over the last dimension; with a residual, x + residual
// takes x's place and is returned too, in the residual's dtype. Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467
#pragma once

#include <optional>

#include "core/array.h"
#include "core/plan.h"

namespace fusedops {

struct RmsNormProblem {
  DType dtype;      // of x and y
  DType sum_dtype;  // of what is normalised: the residual's, else x's
  Shape shape;
  int64_t rows;
  int64_t columns;
  std::optional<DType> weight_dtype;
  bool has_residual;
  float eps;
  float weight_offset;

  ArrayInfo output() const { return {dtype, shape}; }
  ArrayInfo sum() const { return {sum_dtype, shape}; }
  ArrayInfo reciprocal_rms() const { return {DType::float32, Shape(shape.begin(), shape.end() - 1)}; }
};

// Throws ValueError or TypeError.
RmsNormProblem rms_norm_problem(const ArrayInfo& x, const std::optional<ArrayInfo>& weight,
                                const std::optional<ArrayInfo>& residual, double eps, double weight_offset);

// Of the gradients: `sum` is what was normalised, `grad_y` is as y was. Throws as the other.
RmsNormProblem rms_norm_backward_problem(const ArrayInfo& sum, const std::optional<ArrayInfo>& weight,
                                         const ArrayInfo& grad_y, double eps, double weight_offset);

// How Metal computes it. The arrays are those that the problem was made of; only their layout counts. The outputs are
// y, the sum where there is a residual, and the reciprocal of the root mean square where asked for.
Plan rms_norm_plan(const RmsNormProblem& problem, const ArrayView& x, const std::optional<ArrayView>& weight,
                   const std::optional<ArrayView>& residual, bool with_reciprocal_rms);

}  // namespace fusedops
