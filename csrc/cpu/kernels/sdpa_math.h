// The exponential of online softmax.
#pragma once

#include "cpu/kernels/simd.h"

namespace fusedops::cpu::FUSEDOPS_ISA {

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
  const Vec f = x - integer;
  Vec p = splat(1.32647273e-3f);  // relative error 9.1e-8 for |f| <= 1/2
  p = p * f + splat(9.67151299e-3f);
  p = p * f + splat(5.55073358e-2f);
  p = p * f + splat(0.240222424f);
  p = p * f + splat(0.693147004f);
  p = p * f + splat(1.f);
#if defined(__AVX512F__)
  const __mmask16 representable = _mm512_cmp_ps_mask((__m512)x, _mm512_set1_ps(-126.f), _CMP_NLT_UQ);
  return (Vec)_mm512_maskz_scalef_ps(representable, (__m512)p, (__m512)integer);
#else
  const Vec power = (Vec)((IntVec)p + (__builtin_convertvector(integer, IntVec) << 23));
  return select(x >= splat(-126.f), power, select(x < splat(-126.f), Vec{}, x));
#endif
}

}  // namespace fusedops::cpu::FUSEDOPS_ISA
