#include "ops/gelu.h"

#include "ops/checks.h"

namespace fusedops {

GeluForm gelu_form(std::string_view approximate) {
  if (approximate == "none") return GeluForm::none;
  if (approximate == "tanh") return GeluForm::tanh;
  if (approximate == "sigmoid") return GeluForm::sigmoid;
  checks::fail<ValueError>("approximate must be 'none', 'tanh' or 'sigmoid', got '", approximate, "'");
}

GeluProblem gelu_problem(const ArrayInfo& x, const ArrayInfo* bias, GeluForm form) {
  checks::floating("x", x);
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
