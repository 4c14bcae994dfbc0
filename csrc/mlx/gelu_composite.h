// GELU in MLX's operators, in float32.
#pragma once

#include <cmath>
#include <numbers>

#include "mlx/arrays.h"
#include "mlx/ops.h"
#include "ops/gelu.h"

namespace fusedops::mlx {

// Beyond this, in every form, the gate is 0 or 1 in float32. Clipping there keeps 0 * inf out of values and
// derivatives.
inline constexpr float kGeluSaturates = 64.f;

// The factor of x: Phi(x), or what stands for it.
inline mx::array gelu_gate(const mx::array& x, GeluForm form, mx::Stream s) {
  const auto scaled = [&](const mx::array& a, double factor) {
    return mx::multiply(a, mx::array(static_cast<float>(factor)), s);
  };
  const auto half_of_one_plus = [&](const mx::array& a) { return scaled(mx::add(a, mx::array(1.f), s), 0.5); };
  if (form == GeluForm::sigmoid) return mx::sigmoid(scaled(x, 1.702), s);
  if (form == GeluForm::none) return half_of_one_plus(mx::erf(scaled(x, std::sqrt(0.5)), s));
  const mx::array cubic = mx::add(x, scaled(mx::multiply(x, mx::square(x, s), s), 0.044715), s);
  return half_of_one_plus(mx::tanh(scaled(cubic, std::sqrt(2 / std::numbers::pi)), s));
}

inline mx::array gelu_composite(const mx::array& x, GeluForm form, mx::Stream s) {
  const mx::array above = mx::maximum(x, mx::array(-kGeluSaturates), s);
  return mx::multiply(above, gelu_gate(mx::minimum(above, mx::array(kGeluSaturates), s), form, s), s);
}

}  // namespace fusedops::mlx
