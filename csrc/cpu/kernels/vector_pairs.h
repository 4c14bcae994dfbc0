// Rows of memory read two vectors at a time, in the order that is cheapest to widen, and the sums of many vectors'
// lanes at once.
#pragma once

#include <utility>

#include "cpu/kernels/simd.h"

namespace fusedops::cpu::FUSEDOPS_ISA {

// kPairLanes neighbouring elements as float32: in their order, but for bfloat16 first those at even and then those at
// odd places, since a shift and a mask widen them where they lie. Dot products do not care, sums can be put right once
// at their end.
struct VectorPair {
  Vec first, second;
};
inline constexpr int kPairLanes = 2 * kLanes;

template <class T>
FUSEDOPS_INLINE VectorPair widen_pair(UintVec bits) {
  if constexpr (__is_same(T, bfloat16)) return {(Vec)(bits << 16), (Vec)(bits & 0xffff0000u)};
  HalfBitsVec halves[2];
  std::memcpy(halves, &bits, sizeof bits);
  return {widen_float16(halves[0]), widen_float16(halves[1])};
}

template <class T>
FUSEDOPS_INLINE VectorPair load_pair(const T* source, AllLanes = {}) {
  if constexpr (__is_same(T, bfloat16)) {
    UintVec bits;
    std::memcpy(&bits, source, sizeof bits);
    return widen_pair<T>(bits);
  } else {
    return {load(source), load(source + kLanes)};
  }
}

// The first lanes.count elements, fewer than kPairLanes, and zeros.
template <class T>
FUSEDOPS_INLINE VectorPair load_pair(const T* source, SomeLanes lanes) {
#if defined(__AVX512F__)
  const uint32_t mask = (uint32_t{1} << lanes.count) - 1;
  if constexpr (sizeof(T) == 4)
    return {(Vec)_mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), source),
            (Vec)_mm512_maskz_loadu_ps(static_cast<__mmask16>(mask >> 16), source + kLanes)};
  else
    return widen_pair<T>((UintVec)_mm512_maskz_loadu_epi16(mask, source));
#else
  T padded[kPairLanes];
  std::memset(padded, 0, sizeof padded);
  std::memcpy(padded, source, lanes.count * sizeof(T));
  return load_pair(padded);
#endif
}

// Puts a row of sums over pairs of T into the elements' order.
template <class T>
FUSEDOPS_INLINE void restore_order([[maybe_unused]] float* row, [[maybe_unused]] int64_t count) {
  if constexpr (__is_same(T, bfloat16)) {
    float pair[kPairLanes];
    for (int64_t i = 0; i < count; i += kPairLanes) {
      std::memcpy(pair, row + i, sizeof pair);
      for (int lane = 0; lane < kLanes; ++lane) {
        row[i + 2 * lane] = pair[lane];
        row[i + 2 * lane + 1] = pair[lane + kLanes];
      }
    }
  }
}

FUSEDOPS_INLINE Vec multiply_add(VectorPair a, VectorPair b, Vec sum) {
  return sum + a.first * b.first + a.second * b.second;
}

// What one step of a dot product reads of a row of T.
template <class T>
struct DotOperand {
  using Type = VectorPair;
  template <class Lanes>
  FUSEDOPS_INLINE Type load(const T* source, Lanes lanes) {
    return load_pair(source, lanes);
  }
};

#if defined(__AVX512BF16__)
// The instruction multiplies bfloat16 as they are.
FUSEDOPS_INLINE Vec multiply_add(__m512bh a, __m512bh b, Vec sum) { return (Vec)_mm512_dpbf16_ps((__m512)sum, a, b); }

template <>
struct DotOperand<bfloat16> {
  using Type = __m512bh;
  FUSEDOPS_INLINE Type load(const bfloat16* source, AllLanes) { return (Type)_mm512_loadu_si512(source); }
  FUSEDOPS_INLINE Type load(const bfloat16* source, SomeLanes lanes) {
    return (Type)_mm512_maskz_loadu_epi16((uint32_t{1} << lanes.count) - 1, source);
  }
};
#endif

// body(offset, lanes) for every pair of `count` elements, the last one perhaps partial.
template <class Body>
FUSEDOPS_INLINE void for_each_pair(int64_t count, Body&& body) {
  int64_t i = 0;
  for (; i + kPairLanes <= count; i += kPairLanes) body(i, AllLanes{});
  if (i < count) body(i, SomeLanes{count - i});
}

// a's lanes without the bit `width`, b's with it.
template <int width, int... lane>
FUSEDOPS_INLINE Vec blend(Vec a, Vec b, std::integer_sequence<int, lane...>) {
#if defined(__AVX512F__)
  // Left to itself GCC makes this and the shuffle after it into one of the shuffles that compete with multiply-adds.
  return (Vec)_mm512_mask_blend_ps(static_cast<__mmask16>(((lane & width ? 1 << lane : 0) | ...)), (__m512)a,
                                   (__m512)b);
#else
  return __builtin_shufflevector(a, b, (lane & width ? lane + kLanes : lane)...);
#endif
}

// Lanes without the bit `width` get a[lane] + a[lane + width], those with it b[lane] + b[lane - width].
template <int width, int... lane>
FUSEDOPS_INLINE Vec fold(Vec a, Vec b, std::integer_sequence<int, lane...> lanes) {
  const Vec crossed = blend<width>(b, a, lanes);
  return blend<width>(a, b, lanes) + __builtin_shufflevector(crossed, crossed, (lane ^ width)...);
}

// Lane i of the result is the sum of terms[i]'s lanes, for kLanes vectors; `terms` is used up.
template <int width = kLanes / 2>
FUSEDOPS_INLINE Vec sums_of_lanes(Vec* terms) {
  if constexpr (width == 0) {
    return terms[0];
  } else {
#pragma GCC unroll 8
    for (int i = 0; i < width; ++i)
      terms[i] = fold<width>(terms[i], terms[i + width], std::make_integer_sequence<int, kLanes>{});
    return sums_of_lanes<width / 2>(terms);
  }
}

FUSEDOPS_INLINE bool any_greater(Vec a, Vec b) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps(_mm256_cmp_ps((__m256)a, (__m256)b, _CMP_GT_OQ)) != 0;
#else
  bool any = false;
  for (int lane = 0; lane < kLanes; ++lane) any |= a[lane] > b[lane];
  return any;
#endif
}

}  // namespace fusedops::cpu::FUSEDOPS_ISA
