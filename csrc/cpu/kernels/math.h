// Elementary functions on vectors. The polynomials are minimax fits (Lawson's iteration on Chebyshev nodes) of this
// project; errors given are those of the fit, rounding adds one or two units in the last place.
#pragma once

#include "cpu/kernels/simd.h"

namespace fusedops::cpu::FUSEDOPS_ISA {

// How accurate a function has to be: to float32's last places, or well within half a unit of a 16-bit result's.
enum class Accuracy { full, for_16_bits };
template <class T>
inline constexpr Accuracy kAccuracyFor = sizeof(T) == 4 ? Accuracy::full : Accuracy::for_16_bits;

// c0 + c1 x + c2 x^2 + ...
FUSEDOPS_INLINE Vec polynomial(Vec, float last) { return splat(last); }
template <class... Rest>
FUSEDOPS_INLINE Vec polynomial(Vec x, float first, Rest... rest) {
  return polynomial(x, rest...) * x + splat(first);
}

// 2^r for |r| <= 1/2.
template <Accuracy accuracy>
FUSEDOPS_INLINE Vec exp2_of_fraction(Vec r) {
  if constexpr (accuracy == Accuracy::full)  // relative error 1.9e-9
    return polynomial(r, 1.f, 0.693147206f, 0.240226469f, 0.0555032878f, 0.00961848897f, 0.00133999312f,
                      1.53458075e-4f);
  else  // 2.6e-6
    return polynomial(r, 0.999999261f, 0.693121815f, 0.24024745f, 0.0559178599f, 0.00957009667f);
}

// a b - c, rounded once; where the CPU has no such instruction, nearly so: the product of the high halves is exact
// (Dekker 1971, https://doi.org/10.1007/BF01397083). With -fsanitize=address GCC does not contract the two operations.
FUSEDOPS_INLINE Vec multiply_subtract(Vec a, Vec b, Vec c) {
#if (defined(__FMA__) || defined(__ARM_FEATURE_FMA)) && !defined(__SANITIZE_ADDRESS__)
  return a * b - c;
#else
  const Vec a_high = (Vec)((UintVec)a & splat_bits(0xfffff000u)), b_high = (Vec)((UintVec)b & splat_bits(0xfffff000u));
  return (a_high * b_high - c) + (a_high * (b - b_high) + (a - a_high) * b);
#endif
}

inline constexpr float kLog2E = 1.44269502f, kLog2ERest = 1.92596303e-8f;  // their sum has 48 bits

// 2^(x log2_of_base + correction), where that is within +-126 and the correction tiny: the exponent's integral part
// becomes the result's (Cody & Waite 1980). Any other exponent gives some number or NaN, and NaN gives NaN.
template <Accuracy accuracy>
FUSEDOPS_INLINE Vec exp2_within_range(Vec x, Vec log2_of_base, Vec correction) {
  const Vec shifter =
      splat(12582912.f);  // adding 1.5 * 2^23 leaves the nearest integer in the low bits of the mantissa
  const Vec shifted = x * log2_of_base + shifter;
  const Vec fraction = multiply_subtract(x, log2_of_base, shifted - shifter) + correction;
  return (Vec)((UintVec)exp2_of_fraction<accuracy>(fraction) + ((UintVec)shifted << 23));
}

// e^x for |x| <= 87; any other x gives some number or NaN, and NaN gives NaN.
template <Accuracy accuracy = Accuracy::full>
FUSEDOPS_INLINE Vec exp_within_range(Vec x) {
  const Vec correction = accuracy == Accuracy::full ? x * splat(kLog2ERest) : Vec{};
  return exp2_within_range<accuracy>(x, splat(kLog2E), correction);
}

// e^x for x <= 88: 0 below -87.3, NaN for NaN.
FUSEDOPS_INLINE Vec exp(Vec x) {
  const Vec lowest = splat(-87.3f);
  const Vec result = exp_within_range(max(lowest, x));
  return select(x >= lowest, result, select(x < lowest, Vec{}, x));
}

FUSEDOPS_INLINE Vec round_to_integer(Vec x) {
#if defined(__AVX512F__)
  return (Vec)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT);
#else
  const Vec shifter = splat(12582912.f);  // 1.5 * 2^23: adding it leaves the nearest integer
  return (x + shifter) - shifter;
#endif
}

// 2^x for x <= 127: 0 below -126, NaN for NaN.
FUSEDOPS_INLINE Vec exp2(Vec x) {
  const Vec integer = round_to_integer(x);
  // relative error 9.1e-8 for |x - integer| <= 1/2
  const Vec p =
      polynomial(x - integer, 1.f, 0.693147004f, 0.240222424f, 5.55073358e-2f, 9.67151299e-3f, 1.32647273e-3f);
#if defined(__AVX512F__)
  const __mmask16 representable = _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(-126.f), _CMP_NLT_UQ);
  return (Vec)_mm512_maskz_scalef_ps(representable, (__m512)p, (__m512)integer);
#else
  // unsigned: where x is out of range the sum overflows
  const Vec power = (Vec)((UintVec)p + ((UintVec) __builtin_convertvector(integer, IntVec) << 23));
  return select(x >= splat(-126.f), power, select(x < splat(-126.f), Vec{}, x));
#endif
}

// 1 / x for normal x, in full to within two units in the last place.
template <Accuracy accuracy = Accuracy::full>
FUSEDOPS_INLINE Vec reciprocal(Vec x) {
#if defined(__AVX512F__)
  const Vec estimate = (Vec)_mm512_rcp14_ps((__m512)x);
  if constexpr (accuracy == Accuracy::for_16_bits) return estimate;
  return estimate * (splat(2.f) - x * estimate);  // one step of Newton's method doubles the 14 bits
#else
  return splat(1.f) / x;
#endif
}

FUSEDOPS_INLINE Vec tanh(Vec x) {
  const Vec magnitude = min(splat(10.f), abs(x));
  const Vec square = x * x;
  // x + x^3 p(x^2), relative error 4.4e-9 for |x| <= 0.625
  const Vec p = polynomial(square, -0.3333328f, 0.13331442f, -5.3739715e-2f, 2.0639088e-2f, -5.7049873e-3f);
  const Vec near_zero = x + x * square * p;
  const Vec far = splat(1.f) - splat(2.f) / (splat(1.f) + exp(magnitude + magnitude));
  const Vec signed_far = (Vec)((UintVec)far | ((UintVec)x & splat_bits(0x80000000u)));
  return select(magnitude < splat(0.625f), near_zero, signed_far);
}

}  // namespace fusedops::cpu::FUSEDOPS_ISA
