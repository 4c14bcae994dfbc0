// GELU is x times a gate that rises from 0 to 1: Phi(x), or the sigmoid of a polynomial that stands for it. All gates
// are symmetric, gate(-x) = 1 - gate(x), so that
//   gelu(x) = max(x, 0) - a gate(-a)   with a = |x|,
// which is relatively accurate for negative x too, where 1 + erf or 1 + tanh cancel.
#pragma once

#include "cpu/kernels/math.h"
#include "ops/gelu.h"

namespace fusedops::cpu::FUSEDOPS_ISA {

// e^(-a^2/2) for 0 <= a <= 13.
template <Accuracy accuracy>
FUSEDOPS_INLINE Vec exp_of_minus_half_square(Vec a) {
  const Vec factor = splat(-0.5f * kLog2E);
  if constexpr (accuracy == Accuracy::for_16_bits) return exp2_within_range<accuracy>(a * a, factor, Vec{});
  // The high half of a squares exactly; the rest of a^2 is added to the exponent's fraction.
  const Vec high = (Vec)((UintVec)a & splat_bits(0xfffff000u));
  const Vec square = high * high, rest = (a - high) * (a + high);
  return exp2_within_range<accuracy>(square, factor, square * splat(-0.5f * kLog2ERest) + rest * factor);
}

inline constexpr float kNormalTailEnd = 13.f;  // Phi(-13) is 6e-39
struct NormalTail {
  Vec exponential;  // e^(-a^2/2)
  Vec tail;         // Phi(-a)
};

// For 0 <= a <= kNormalTailEnd: Phi(-a) = e^(-a^2/2) t p(t) with t = 1 / (1 + 0.35 a).
template <Accuracy accuracy>
FUSEDOPS_INLINE NormalTail normal_tail(Vec a) {
  const Vec t = reciprocal<accuracy>(a * splat(0.35f) + splat(1.f));
  Vec p;
  if constexpr (accuracy == Accuracy::full)  // relative error 3.2e-8
    p = polynomial(t, 0.1396213f, 0.13986352f, 0.11982128f, 0.10555253f, -2.3212435e-2f, 0.15931982f, -0.2558391f,
                   0.14403097f, -2.9157897e-2f);
  else  // 2.4e-5
    p = polynomial(t, 0.13920528f, 0.14540176f, 0.094251252f, 0.14722574f, 0.0061277508f, -0.032223556f);
  const Vec exponential = exp_of_minus_half_square<accuracy>(a);
  return {exponential, exponential * t * p};
}

// The sigmoid's argument is x (linear + cubic x^2). 0.5 (1 + tanh(u)) is sigmoid(2u).
template <GeluForm form>
struct SigmoidArgument;
template <>
struct SigmoidArgument<GeluForm::tanh> {
  static constexpr double linear = 1.5957691216057308;  // 2 sqrt(2 / pi)
  static constexpr double cubic = 0.044715 * linear;
  static constexpr float end = 9.9f;  // where the argument is 85, and its exponential next to the least normal number
};
template <>
struct SigmoidArgument<GeluForm::sigmoid> {
  static constexpr double linear = 1.702;
  static constexpr double cubic = 0;
  static constexpr float end = 50.f;
};

// e^(-a (linear + cubic a^2)) for 0 <= a <= SigmoidArgument<form>::end.
template <GeluForm form, Accuracy accuracy>
FUSEDOPS_INLINE Vec exp_of_minus_argument(Vec a) {
  using Argument = SigmoidArgument<form>;
  const auto linear = static_cast<float>(Argument::linear), cubic = static_cast<float>(Argument::cubic);
  return exp_within_range<accuracy>(-(a * (a * a * splat(cubic) + splat(linear))));
}

// Beyond this |x| the gate stays what it is there: next to 0 or 1.
template <GeluForm form>
inline constexpr float kGateEnd = SigmoidArgument<form>::end;
template <>
inline constexpr float kGateEnd<GeluForm::none> = kNormalTailEnd;

// gate(-a) for 0 <= a <= kGateEnd<form>.
template <GeluForm form, Accuracy accuracy>
FUSEDOPS_INLINE Vec gate_of_minus(Vec a) {
  if constexpr (form == GeluForm::none) {
    return normal_tail<accuracy>(a).tail;
  } else {
    const Vec tail = exp_of_minus_argument<form, accuracy>(a);
    return tail * reciprocal<accuracy>(splat(1.f) + tail);
  }
}

template <GeluForm form, Accuracy accuracy>
FUSEDOPS_INLINE Vec gelu_by_formula(Vec x) {
  const Vec a = min(splat(kGateEnd<form>), abs(x));
  return max(x, Vec{}) - a * gate_of_minus<form, accuracy>(a);
}

}  // namespace fusedops::cpu::FUSEDOPS_ISA
