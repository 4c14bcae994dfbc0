// GELU in MLX's operators, in float32: relatively accurate for negative x too, and so are its derivatives, where 1 +
// erf and 1 + tanh cancel. All gates are 1 - gate(-x).
#pragma once

#include <cmath>
#include <iterator>
#include <numbers>

#include "mlx/arrays.h"
#include "mlx/ops.h"
#include "ops/gelu.h"

namespace fusedops::mlx {

// Beyond this, in every form, the gate is 0 or 1 in float32. Clipping there keeps 0 * inf out of values and
// derivatives.
inline float gelu_limit(GeluForm form) { return form == GeluForm::sigmoid ? 64.f : 15.f; }

inline mx::array scaled(const mx::array& a, double factor, mx::Stream s) {
  return mx::multiply(a, mx::array(static_cast<float>(factor)), s);
}

inline mx::array plus(const mx::array& a, float term, mx::Stream s) { return mx::add(a, mx::array(term), s); }

// e^(-a^2/2). What rounding takes from a^2 matters, but the square of so short a number is exact.
inline mx::array exponential_of_minus_half_square(const mx::array& a, mx::Stream s) {
  const mx::array shortened = scaled(mx::floor(scaled(a, 64, s), s), 1. / 64, s);
  const mx::array rest = mx::multiply(mx::subtract(a, shortened, s), mx::add(a, shortened, s), s);
  return mx::multiply(mx::exp(scaled(mx::square(shortened, s), -0.5, s), s), mx::exp(scaled(rest, -0.5, s), s), s);
}

// Phi(-a) for 0 <= a <= 15: e^(-a^2/2) t p(t) with t = 1 / (1 + a/4). p is a Chebyshev fit of this project with a
// relative error of 4e-10, its slope's 2e-8; torch's composite has it too. MLX has erf, but no erfc.
inline mx::array normal_tail(const mx::array& a, mx::Stream s) {
  constexpr float coefficients[] = {0.09973297728f,   0.09979981417f,  0.09280578776f,  0.08536784022f,
                                    0.04648135202f,   0.08668280716f,  -0.04661391461f, 0.06825414031f,
                                    -0.007095483309f, -0.05529358649f, 0.03743552386f,  -0.00755725844f};
  const mx::array t = mx::reciprocal(plus(scaled(a, 0.25, s), 1.f, s), s);
  mx::array p = plus(scaled(t, *std::rbegin(coefficients), s), *std::next(std::rbegin(coefficients)), s);
  for (auto c = std::rbegin(coefficients) + 2; c != std::rend(coefficients); ++c)
    p = plus(mx::multiply(p, t, s), *c, s);
  return mx::multiply(exponential_of_minus_half_square(a, s), mx::multiply(t, p, s), s);
}

// The gate of -a: Phi(-a), or what stands for it. 0.5 (1 + tanh(u)) is sigmoid(2u).
inline mx::array gelu_tail(const mx::array& a, GeluForm form, mx::Stream s) {
  if (form == GeluForm::none) return normal_tail(a, s);
  if (form == GeluForm::sigmoid) return mx::sigmoid(scaled(a, -1.702, s), s);
  const mx::array cubic = mx::add(a, scaled(mx::multiply(a, mx::square(a, s), s), 0.044715, s), s);
  return mx::sigmoid(scaled(cubic, -2 * std::sqrt(2 / std::numbers::pi), s), s);
}

inline mx::array gelu_composite(const mx::array& x, GeluForm form, mx::Stream s) {
  const mx::array limit(gelu_limit(form)), one(1.f);
  const mx::array inner = mx::minimum(mx::maximum(x, mx::negative(limit, s), s), limit, s);
  const mx::array negative = mx::less(inner, mx::array(0.f), s);
  const mx::array tail = gelu_tail(mx::where(negative, mx::negative(inner, s), inner, s), form, s);
  const mx::array gate = mx::where(negative, tail, mx::subtract(one, tail, s), s);
  return mx::where(mx::greater(x, limit, s), x, mx::multiply(inner, gate, s), s);
}

}  // namespace fusedops::mlx
