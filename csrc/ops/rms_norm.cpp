#include "ops/rms_norm.h"

#include "ops/checks.h"

namespace fusedops {
namespace {

void check_eps(double eps) {
  const auto rounded = static_cast<float>(eps);
  if (eps != 0 && !(rounded > 0 && std::isfinite(rounded)))
    checks::fail<ValueError>("eps must be 0, or positive and finite in float32, got ", eps);
}

// x's dtype, or float32 beside 16-bit x: then the sum is not rounded.
void check_residual_dtype(const ArrayInfo& residual, const ArrayInfo& x) {
  checks::floating("residual", residual);
  if (residual.dtype != x.dtype && residual.dtype != DType::float32)
    checks::fail<TypeError>("residual must have x's dtype, ", dtype_name(x),
                            x.dtype == DType::float32 ? "" : ", or float32", ", got ", dtype_name(residual));
}

void check_weight(const ArrayInfo& weight, const ArrayInfo& x) {
  checks::floating("weight", weight);
  if (weight.shape != Shape{x.shape.back()})
    checks::fail<ValueError>("weight must have shape (", x.shape.back(), ",), x's last dimension, got ",
                             checks::to_string(weight.shape),
                             "; for a weight of another shape normalise without one and multiply by it");
}

}  // namespace

RmsNormProblem rms_norm_problem(const ArrayInfo& x, const std::optional<ArrayInfo>& weight,
                                const std::optional<ArrayInfo>& residual, double eps, double weight_offset) {
  checks::floating("x", x);
  checks::has_dimensions("x", x);
  checks::countable("x", x);
  if (weight) check_weight(*weight, x);
  if (residual) {
    check_residual_dtype(*residual, x);
    checks::shape_is("residual", *residual, x.shape, ", as x has");
  }
  check_eps(eps);
  checks::finite("weight_offset", weight_offset);
  return {
      .dtype = x.dtype,
      .sum_dtype = residual ? residual->dtype : x.dtype,
      .shape = x.shape,
      .rows = element_count(Shape(x.shape.begin(), x.shape.end() - 1)),
      .columns = x.shape.back(),
      .weight_dtype = weight ? std::optional(weight->dtype) : std::nullopt,
      .has_residual = residual.has_value(),
      .eps = static_cast<float>(eps),
      .weight_offset = static_cast<float>(weight_offset),
  };
}

RmsNormProblem rms_norm_backward_problem(const ArrayInfo& sum, const std::optional<ArrayInfo>& weight,
                                         const ArrayInfo& grad_y, double eps, double weight_offset) {
  RmsNormProblem problem = rms_norm_problem(sum, weight, std::nullopt, eps, weight_offset);
  checks::floating("grad_y", grad_y);
  if (sum.dtype != DType::float32) checks::same_dtype("grad_y", grad_y, "x", sum);
  checks::shape_is("grad_y", grad_y, sum.shape, ", as x has");
  problem.dtype = grad_y.dtype;
  return problem;
}

}  // namespace fusedops
