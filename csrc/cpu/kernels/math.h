// Elementary functions on vectors. The polynomials are minimax fits (Lawson's iteration on Chebyshev nodes) of this
// project; errors given are those of the fit, rounding adds one or two units in the last place.
#pragma once

#include "cpu/kernels/simd.h"
#include "ops/gelu.h"

namespace fusedops::cpu::FUSEDOPS_ISA {

// e^(x + correction) for -87 <= x <= 88 and a tiny correction; any other x, NaN too, gives some number or NaN.
FUSEDOPS_INLINE Vec exp_within_range(Vec x, Vec correction = Vec{}) {
  // x = n ln 2 + f, result 2^n e^f. Adding 1.5 * 2^23 leaves the nearest integer in the low bits of the mantissa.
  const Vec shifter = splat(12582912.f);
  const Vec shifted = x * splat(1.44269504f) + shifter;
  const Vec n = shifted - shifter;
  // ln 2 in two parts, the first with few enough bits that n times it is exact (Cody & Waite 1980).
  const Vec f = x - n * splat(0.693145752f) - n * splat(1.42860677e-6f) + correction;
  Vec p = splat(1.3814602e-3f);  // relative error 3.1e-9 for |f| <= ln(2) / 2
  p = p * f + splat(8.368716e-3f);
  p = p * f + splat(4.166839e-2f);
  p = p * f + splat(0.16666521f);
  p = p * f + splat(0.49999994f);
  p = p * f + splat(1.f);
  p = p * f + splat(1.f);
  return (Vec)((IntVec)p + ((IntVec)shifted << 23));
}

// e^x for x <= 88: 0 below -87.3, NaN for NaN.
FUSEDOPS_INLINE Vec exp(Vec x) {
  const Vec lowest = splat(-87.3f);
  const Vec result = exp_within_range(max(lowest, x));
  return select(x >= lowest, result, select(x < lowest, Vec{}, x));
}

// 1 / x for normal x, to within two units in the last place.
FUSEDOPS_INLINE Vec reciprocal(Vec x) {
#if defined(__AVX512F__)
  const Vec estimate = (Vec)_mm512_rcp14_ps((__m512)x);
  return estimate * (splat(2.f) - x * estimate);  // one step of Newton's method doubles the 14 bits
#else
  return splat(1.f) / x;
#endif
}

FUSEDOPS_INLINE Vec tanh(Vec x) {
  const Vec magnitude = min(splat(10.f), abs(x));
  const Vec square = x * x;
  Vec p = splat(-5.7049873e-3f);  // x + x^3 p(x^2), relative error 4.4e-9 for |x| <= 0.625
  p = p * square + splat(2.0639088e-2f);
  p = p * square + splat(-5.3739715e-2f);
  p = p * square + splat(0.13331442f);
  p = p * square + splat(-0.3333328f);
  const Vec near_zero = x + x * square * p;
  const Vec far = splat(1.f) - splat(2.f) / (splat(1.f) + exp(magnitude + magnitude));
  const Vec signed_far = (Vec)((UintVec)far | ((UintVec)x & splat_bits(0x80000000u)));
  return select(magnitude < splat(0.625f), near_zero, signed_far);
}

// x times GELU's gate, which tends to 0 where x tends to minus infinity: there x is held at a value whose product with
// 0 is not NaN. A NaN in x stays one, whatever the gate.
FUSEDOPS_INLINE Vec times_gate(Vec x, Vec gate) { return max(splat(-1e4f), x) * gate; }

// e^(-x^2/2), and Phi(-|x|) = e^(-x^2/2) t p(t) with t = 1 / (1 + 0.35 |x|): accurate in the tail, where 1 - erf
// cancels.
inline constexpr float kNormalTailEnd = 13.f;  // Phi(-13) is 6e-39
struct NormalTail {
  Vec exponential;
  Vec tail;
};

FUSEDOPS_INLINE NormalTail normal_tail(Vec x) {
  const Vec a = min(splat(kNormalTailEnd), abs(x));
  const Vec t = reciprocal(a * splat(0.35f) + splat(1.f));
  Vec p = splat(-2.9157897e-2f);  // relative error 3.2e-8 for a <= 14.5
  p = p * t + splat(0.14403097f);
  p = p * t + splat(-0.2558391f);
  p = p * t + splat(0.15931982f);
  p = p * t + splat(-2.3212435e-2f);
  p = p * t + splat(0.10555253f);
  p = p * t + splat(0.11982128f);
  p = p * t + splat(0.13986352f);
  p = p * t + splat(0.1396213f);
  // The high half of a squares exactly; the rest of a^2 enters as a correction to the exponent.
  const Vec high = (Vec)((UintVec)a & splat_bits(0xfffff000u));
  const Vec rest = (a - high) * (a + high);
  const Vec exponential = exp_within_range(high * high * splat(-0.5f), rest * splat(-0.5f));
  return {exponential, exponential * t * p};
}

// x Phi(x)
FUSEDOPS_INLINE Vec gelu_erf(Vec x) {
  const Vec tail = normal_tail(x).tail;
  return times_gate(x, select(x > Vec{}, splat(1.f) - tail, tail));
}

// x sigmoid(-z)
FUSEDOPS_INLINE Vec times_sigmoid_of_minus(Vec x, Vec z) {
  return times_gate(x, reciprocal(splat(1.f) + exp_within_range(max(splat(-87.f), min(splat(87.f), z)))));
}

// The sigmoid's argument is x (linear + cubic x^2).
inline constexpr float kTanhLinear = 1.5957691216f;  // 2 sqrt(2 / pi)
inline constexpr float kTanhCubic = 0.044715f * kTanhLinear;
inline constexpr float kSigmoidLinear = 1.702f;

// 0.5 (1 + tanh(u)) is sigmoid(2u), which neither overflows nor cancels.
FUSEDOPS_INLINE Vec gelu_tanh(Vec x) {
  return times_sigmoid_of_minus(x, x * (x * x * splat(-kTanhCubic) - splat(kTanhLinear)));
}

FUSEDOPS_INLINE Vec gelu_sigmoid(Vec x) { return times_sigmoid_of_minus(x, x * splat(-kSigmoidLinear)); }

template <GeluForm form>
FUSEDOPS_INLINE Vec gelu(Vec x) {
  if constexpr (form == GeluForm::none) return gelu_erf(x);
  if constexpr (form == GeluForm::tanh) return gelu_tanh(x);
  if constexpr (form == GeluForm::sigmoid) return gelu_sigmoid(x);
}

}  // namespace fusedops::cpu::FUSEDOPS_ISA
