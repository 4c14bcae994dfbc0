// GELU's derivative, with its value, which GEGLU's gradient needs too.
#pragma once

#include "cpu/kernels/gelu_forms.h"

namespace fusedops::cpu::FUSEDOPS_ISA {

struct ValueAndSlope {
  Vec value;
  Vec slope;
};

// gelu(x) and its derivative, gate(x) + x gate'(x). Where |x| is beyond the gate's end the latter is gate(x) alone.
template <GeluForm form, Accuracy accuracy>
FUSEDOPS_INLINE ValueAndSlope gelu_with_slope(Vec x) {
  const Vec a = min(splat(kGateEnd<form>), abs(x));
  Vec gate_of_minus, rise;  // gate(-a) and a gate'(a), the same as a gate'(-a)
  if constexpr (form == GeluForm::none) {
    const NormalTail normal = normal_tail<accuracy>(a);
    const float reciprocal_sqrt_2_pi = 0.39894228f;
    gate_of_minus = normal.tail;
    rise = a * (normal.exponential * splat(reciprocal_sqrt_2_pi));
  } else {
    using Argument = SigmoidArgument<form>;
    const Vec tail = exp_of_minus_argument<form, accuracy>(a);
    const Vec gate = reciprocal<accuracy>(splat(1.f) + tail);
    gate_of_minus = tail * gate;
    const auto linear = static_cast<float>(Argument::linear), cubic = static_cast<float>(3 * Argument::cubic);
    rise = a * gate * gate_of_minus * (a * a * splat(cubic) + splat(linear));
  }
  const Vec slope_of_minus = select(a < splat(kGateEnd<form>), gate_of_minus - rise, select(x == x, Vec{}, x));
  return {max(x, Vec{}) - a * gate_of_minus, select(x > Vec{}, splat(1.f) - slope_of_minus, slope_of_minus)};
}

}  // namespace fusedops::cpu::FUSEDOPS_ISA
