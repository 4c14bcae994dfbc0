#include "ops/gelu.h"

#include "ops/checks.h"

namespace fusedops {

GeluForm gelu_form(std::string_view approximate) {
  if (approximate == "none") return GeluForm::none;
  if (approximate == "tanh") return GeluForm::tanh;
  if (approximate == "sigmoid") return GeluForm::sigmoid;
  checks::fail<ValueError>("approximate must be 'none', 'tanh' or 'sigmoid', got '", approximate, "'");
}

GeluForm gelu_form(int64_t code) {
  if (code < 0 || code > static_cast<int64_t>(GeluForm::sigmoid))
    checks::fail<ValueError>("form must be 0 (none), 1 (tanh) or 2 (sigmoid), got ", code);
  return static_cast<GeluForm>(code);
}

GeluProblem gelu_problem(const ArrayInfo& x, const std::optional<ArrayInfo>& bias, GeluForm form) {
  checks::floating("x", x);
  checks::countable("x", x);
  if (bias) {
    checks::floating("bias", *bias);
    checks::has_dimensions("x", x);
    checks::shape_is("bias", *bias, {x.shape.back()}, ", x's last dimension");
  }
  return {
      .dtype = x.dtype,
      .shape = x.shape,
      .form = form,
      .bias_dtype = bias ? std::optional(bias->dtype) : std::nullopt,
  };
}

}  // namespace fusedops
