// GELU's derivative, with its value, which GEGLU's gradient needs too.
#pragma once

#include "cpu/kernels/math.h"

namespace fusedops::cpu::FUSEDOPS_ISA {

struct ValueAndSlope {
  Vec value;
  Vec slope;
};

// The slope, or 0 where x is below -bound. NaN stays.
FUSEDOPS_INLINE Vec zero_below(Vec x, float bound, Vec slope) { return select(x < splat(-bound), Vec{}, slope); }

// x Phi(x) and Phi(x) + x phi(x).
FUSEDOPS_INLINE ValueAndSlope gelu_erf_with_slope(Vec x) {
  const NormalTail normal = normal_tail(x);
  const Vec gate = select(x > Vec{}, splat(1.f) - normal.tail, normal.tail);
  const float reciprocal_sqrt_2_pi = 0.39894228f;
  // Where |x| is beyond its bound the density is 0, but x may be infinite.
  const Vec bounded = max(splat(-kNormalTailEnd), min(splat(kNormalTailEnd), x));
  const Vec slope = gate + bounded * splat(reciprocal_sqrt_2_pi) * normal.exponential;
  return {times_gate(x, gate), zero_below(x, kNormalTailEnd, slope)};
}

// x s and s + x s (1 - s) z'(x), with s = sigmoid(z(x)). Beyond `bound` s is 0 or 1.
FUSEDOPS_INLINE ValueAndSlope gelu_logistic_with_slope(Vec x, float linear, float cubic, float bound) {
  const Vec bounded = max(splat(-bound), min(splat(bound), x));
  const Vec square = bounded * bounded;
  const Vec z = bounded * (square * splat(cubic) + splat(linear));
  const Vec z_slope = square * splat(3 * cubic) + splat(linear);
  const Vec tail = exp_within_range(max(splat(-87.f), min(splat(87.f), -z)));  // e^-z
  const Vec gate = reciprocal(splat(1.f) + tail);
  return {times_gate(x, gate), zero_below(x, bound, gate + bounded * gate * (gate * tail) * z_slope)};
}

template <GeluForm form>
FUSEDOPS_INLINE ValueAndSlope gelu_with_slope(Vec x) {
  if constexpr (form == GeluForm::none) return gelu_erf_with_slope(x);
  if constexpr (form == GeluForm::tanh) return gelu_logistic_with_slope(x, kTanhLinear, kTanhCubic, 12.f);
  if constexpr (form == GeluForm::sigmoid) return gelu_logistic_with_slope(x, kSigmoidLinear, 0.f, 64.f);
}

}  // namespace fusedops::cpu::FUSEDOPS_ISA
