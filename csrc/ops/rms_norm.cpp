#include "ops/rms_norm.h"

#include "ops/checks.h"

namespace fusedops {

RmsNormProblem rms_norm_problem(const ArrayInfo& x, const std::optional<ArrayInfo>& weight,
                                const std::optional<ArrayInfo>& residual, double eps, double weight_offset) {
  checks::floating("x", x);
  checks::has_dimensions("x", x);
  const int64_t columns = x.shape.back();
  if (weight) {
    checks::floating("weight", *weight);
    checks::shape_is("weight", *weight, {columns}, ", x's last dimension");
  }
  if (residual) {
    checks::same_dtype("residual", *residual, "x", x);
    checks::shape_is("residual", *residual, x.shape, ", as x has");
  }
  checks::positive("eps", eps);
  checks::finite("weight_offset", weight_offset);
  return {
      .dtype = x.dtype,
      .shape = x.shape,
      .rows = element_count(Shape(x.shape.begin(), x.shape.end() - 1)),
      .columns = columns,
      .weight_dtype = weight ? std::optional(weight->dtype) : std::nullopt,
      .has_residual = residual.has_value(),
      .eps = static_cast<float>(eps),
      .weight_offset = static_cast<float>(weight_offset),
  };
}

}  // namespace fusedops
