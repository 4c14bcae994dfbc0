// y = x * rsqrt(mean(x^2) + eps) * (weight + weight_offset), over the last dimension; with a residual, x + residual
// (rounded to x's dtype) takes x's place and is returned too. Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467
#pragma once

#include <optional>

#include "core/array.h"

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

}  // namespace fusedops
