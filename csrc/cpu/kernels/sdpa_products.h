// What a 32-bit lane of an operand of attention's two matrix products holds: one float32 term of a sum or, where the
// CPU multiplies those itself, a pair of neighbouring bfloat16 terms. The sums are float32.
#pragma once

#include <utility>

#include "cpu/kernels/simd.h"

namespace fusedops::cpu::FUSEDOPS_ISA {

template <class T>
struct Products {
  static constexpr int kTerms = 1;  // in a lane

  FUSEDOPS_INLINE Vec load_terms(const T* source) { return load(source); }
  FUSEDOPS_INLINE Vec join(const Vec (&terms)[kTerms]) { return terms[0]; }
  FUSEDOPS_INLINE Vec join_exact(const Vec (&terms)[kTerms]) { return terms[0]; }
  FUSEDOPS_INLINE Vec term(Vec lanes, int) { return lanes; }
  FUSEDOPS_INLINE Vec multiply_add(Vec a, Vec b, Vec sum) { return sum + a * b; }
};

#if defined(__AVX512BF16__)
// The instructions treat subnormal numbers as zeros.
template <>
struct Products<bfloat16> {
  static constexpr int kTerms = 2;

  FUSEDOPS_INLINE Vec load_terms(const bfloat16* source) {
    Vec lanes;
    std::memcpy(&lanes, source, sizeof lanes);
    return lanes;
  }
  // Rounds to nearest even.
  FUSEDOPS_INLINE Vec join(const Vec (&terms)[kTerms]) {
    const auto halves = (HalfLanes)_mm512_cvtne2ps_pbh((__m512)terms[1], (__m512)terms[0]);
    return alternate(halves, std::make_integer_sequence<int, 2 * kLanes>());
  }
  // Of terms that are bfloat16 already.
  FUSEDOPS_INLINE Vec join_exact(const Vec (&terms)[kTerms]) {
    return (Vec)((UintVec)terms[0] >> 16 | (UintVec)terms[1]);
  }
  FUSEDOPS_INLINE Vec term(Vec lanes, int index) {
    return (Vec)(index ? (UintVec)lanes & 0xffff0000u : (UintVec)lanes << 16);
  }
  FUSEDOPS_INLINE Vec multiply_add(Vec a, Vec b, Vec sum) {
    return (Vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
  }

 private:
  typedef uint16_t HalfLanes __attribute__((vector_size(kVectorBytes)));

  template <int... i>
  FUSEDOPS_INLINE Vec alternate(HalfLanes halves, std::integer_sequence<int, i...>) {
    return (Vec)__builtin_shufflevector(halves, halves, (i / 2 + i % 2 * kLanes)...);
  }
};
#endif

}  // namespace fusedops::cpu::FUSEDOPS_ISA
