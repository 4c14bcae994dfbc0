// Vectors of float32 and the conversions at memory's edge, on the vector extensions that GCC and Clang share.
//
// Every file in this folder is compiled once per instruction set, inside a namespace named after it (FUSEDOPS_ISA),
// and may only use code that is compiled along with it: an inline function shared between the copies would be kept
// once by the linker, in whichever instruction set came first.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/dtype.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace fusedops::cpu::FUSEDOPS_ISA {

#if defined(FUSEDOPS_SCALAR)
inline constexpr int kVectorBytes = 4;
#elif defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;
#endif
inline constexpr int kLanes = kVectorBytes / 4;

typedef float Vec __attribute__((vector_size(kVectorBytes)));
typedef int32_t IntVec __attribute__((vector_size(kVectorBytes)));
typedef uint32_t UintVec __attribute__((vector_size(kVectorBytes)));
typedef uint16_t HalfBitsVec __attribute__((vector_size(kVectorBytes / 2)));

struct bfloat16 {
  uint16_t bits;
};
struct float16 {
  uint16_t bits;
};

#define FUSEDOPS_MEMBER_INLINE inline __attribute__((always_inline))
#define FUSEDOPS_INLINE static FUSEDOPS_MEMBER_INLINE

FUSEDOPS_INLINE Vec splat(float value) { return value - Vec{}; }
FUSEDOPS_INLINE UintVec splat_bits(uint32_t value) { return value - UintVec{}; }
FUSEDOPS_INLINE Vec select(IntVec condition, Vec yes, Vec no) { return condition ? yes : no; }
FUSEDOPS_INLINE UintVec select_bits(IntVec condition, UintVec yes, UintVec no) { return condition ? yes : no; }
// Where the operands are unordered the second one is returned, as x86's instructions do: a NaN in it survives.
FUSEDOPS_INLINE Vec max(Vec a, Vec b) {
#if defined(__AVX512F__)
  return (Vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (Vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return select(a > b, a, b);
#endif
}
FUSEDOPS_INLINE Vec min(Vec a, Vec b) {
#if defined(__AVX512F__)
  return (Vec)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (Vec)_mm256_min_ps((__m256)a, (__m256)b);
#else
  return select(a < b, a, b);
#endif
}
FUSEDOPS_INLINE Vec abs(Vec x) { return (Vec)((UintVec)x & splat_bits(0x7fffffff)); }

// --- reductions across lanes
FUSEDOPS_INLINE float sum_lanes(Vec v) {
  float lanes[kLanes];
  std::memcpy(lanes, &v, sizeof v);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}
FUSEDOPS_INLINE float max_lanes(Vec v) {
  float lanes[kLanes];
  std::memcpy(lanes, &v, sizeof v);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] = lanes[i] > lanes[i + width] ? lanes[i] : lanes[i + width];
  return lanes[0];
}

// --- 16-bit formats <-> float32 in registers; stores round to nearest even and keep NaN a NaN
FUSEDOPS_INLINE Vec widen_bfloat16(HalfBitsVec bits) { return (Vec)(__builtin_convertvector(bits, UintVec) << 16); }

FUSEDOPS_INLINE HalfBitsVec narrow_bfloat16_by_bits(Vec v) {
  const UintVec bits = (UintVec)v;
  const UintVec rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  const UintVec result = select_bits(v != v, bits | 0x400000u, rounded);
#if defined(__AVX512F__)
  typedef uint16_t Halves __attribute__((vector_size(kVectorBytes)));
  const Halves odd{1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31};
  const __m512i packed = _mm512_permutexvar_epi16((__m512i)odd, (__m512i)result);
  return (HalfBitsVec)_mm512_castsi512_si256(packed);
#else
  return __builtin_convertvector(result >> 16, HalfBitsVec);
#endif
}

FUSEDOPS_INLINE HalfBitsVec narrow_bfloat16(Vec v) {
#if defined(__AVX512BF16__)
  // The instruction takes subnormal numbers for 0.
  const __mmask16 subnormal = _mm512_fpclass_ps_mask((__m512)v, 0x20);
  if (__builtin_expect(subnormal == 0, 1)) return (HalfBitsVec)_mm512_cvtneps_pbh((__m512)v);
#endif
  return narrow_bfloat16_by_bits(v);
}

FUSEDOPS_INLINE Vec widen_float16(HalfBitsVec bits) {
#if defined(__AVX512F__)
  return (Vec)_mm512_cvtph_ps((__m256i)bits);
#elif defined(__AVX2__)
  return (Vec)_mm256_cvtph_ps((__m128i)bits);
#elif defined(__aarch64__) && !defined(FUSEDOPS_SCALAR)
  typedef __fp16 HalfVec __attribute__((vector_size(kVectorBytes / 2)));
  return __builtin_convertvector((HalfVec)bits, Vec);
#else
  const UintVec wide = __builtin_convertvector(bits, UintVec);
  const UintVec sign = (wide & 0x8000u) << 16;
  // Multiplying by 2^112 moves the exponent's bias from 15 to 127 and makes subnormal halves normal floats.
  const UintVec magnitude = (UintVec)((Vec)((wide & 0x7fffu) << 13) * splat(0x1p112f));
  const UintVec infinite_or_nan = (UintVec)((wide & 0x7c00u) == 0x7c00u) & 0x7f800000u;
  return (Vec)(magnitude | infinite_or_nan | sign);
#endif
}

FUSEDOPS_INLINE HalfBitsVec narrow_float16(Vec v) {
#if defined(__AVX512F__)
  return (HalfBitsVec)_mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT);
#elif defined(__AVX2__)
  return (HalfBitsVec)_mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT);
#elif defined(__aarch64__) && !defined(FUSEDOPS_SCALAR)
  typedef __fp16 HalfVec __attribute__((vector_size(kVectorBytes / 2)));
  return (HalfBitsVec) __builtin_convertvector(v, HalfVec);
#else
  const UintVec bits = (UintVec)v;
  const UintVec sign = (bits >> 16) & 0x8000u;
  const UintVec magnitude = bits & 0x7fffffffu;
  const UintVec normal = (magnitude - ((127u - 15u) << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  // Adding 1/2 leaves a subnormal half's bits, rounded, at the low end of the mantissa (its unit is 2^-24).
  const UintVec subnormal = (UintVec)((Vec)magnitude + splat(0.5f)) - 0x3f000000u;
  UintVec half = select_bits((IntVec)(magnitude < 0x38800000u), subnormal, normal);
  half = select_bits((IntVec)(magnitude >= 0x477ff000u), splat_bits(0x7c00u), half);
  half = select_bits((IntVec)(magnitude > 0x7f800000u), splat_bits(0x7e00u), half);
  return __builtin_convertvector(half | sign, HalfBitsVec);
#endif
}

// --- loads and stores of whole vectors, or of their first `count` lanes
struct AllLanes {};
struct SomeLanes {
  int64_t count;
};
// All lanes, whose stores go past the caches where the CPU can: for outputs that those do not hold. The vectors have to
// lie at multiples of their size, and finish_stores() has to follow before another thread may read them.
struct PastCaches : AllLanes {};

template <class T>
FUSEDOPS_INLINE Vec widen(HalfBitsVec bits) {
  if constexpr (__is_same(T, bfloat16)) return widen_bfloat16(bits);
  return widen_float16(bits);
}

template <class T>
FUSEDOPS_INLINE HalfBitsVec narrow(Vec v) {
  if constexpr (__is_same(T, bfloat16)) return narrow_bfloat16(v);
  return narrow_float16(v);
}

template <class T>
FUSEDOPS_INLINE Vec load(const T* source, AllLanes = {}) {
  if constexpr (sizeof(T) == 4) {
    Vec v;
    std::memcpy(&v, source, sizeof v);
    return v;
  } else {
    HalfBitsVec bits;
    std::memcpy(&bits, source, sizeof bits);
    return widen<T>(bits);
  }
}

template <class T>
FUSEDOPS_INLINE Vec load(const T* source, SomeLanes lanes) {
  T padded[kLanes];
  std::memset(padded, 0, sizeof padded);
  std::memcpy(padded, source, lanes.count * sizeof(T));
  return load(padded);
}

template <class T>
FUSEDOPS_INLINE void store(T* target, Vec v, AllLanes = {}) {
  if constexpr (sizeof(T) == 4) {
    std::memcpy(target, &v, sizeof v);
  } else {
    const HalfBitsVec bits = narrow<T>(v);
    std::memcpy(target, &bits, sizeof bits);
  }
}

template <class T>
FUSEDOPS_INLINE void store(T* target, Vec v, SomeLanes lanes) {
  T padded[kLanes];
  store(padded, v);
  std::memcpy(target, padded, lanes.count * sizeof(T));
}

template <class T>
FUSEDOPS_INLINE void store(T* target, Vec v, PastCaches) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4)
    _mm512_stream_ps(target, (__m512)v);
  else
    _mm256_stream_si256(reinterpret_cast<__m256i*>(target), (__m256i)narrow<T>(v));
#elif defined(__AVX2__)
  if constexpr (sizeof(T) == 4)
    _mm256_stream_ps(target, (__m256)v);
  else
    _mm_stream_si128(reinterpret_cast<__m128i*>(target), (__m128i)narrow<T>(v));
#else
  store(target, v);
#endif
}

FUSEDOPS_INLINE void finish_stores(AllLanes) {}
FUSEDOPS_INLINE void finish_stores(PastCaches) {
#if defined(__AVX2__)
  _mm_sfence();
#endif
}

// The same lanes, whose stores go through the caches.
FUSEDOPS_INLINE AllLanes cached(AllLanes) { return {}; }
FUSEDOPS_INLINE SomeLanes cached(SomeLanes lanes) { return lanes; }

template <class T>
FUSEDOPS_INLINE float to_float(T value) {
  if constexpr (sizeof(T) == 4)
    return value;
  else
    return load(&value, SomeLanes{1})[0];
}

// body(offset, lanes) for every vector of the elements from `first` up to `count`, the last one perhaps partial.
template <class Whole = AllLanes, class Body>
FUSEDOPS_INLINE void for_each_vector(int64_t count, Body&& body, int64_t first = 0) {
  int64_t i = first;
#pragma GCC unroll 2
  for (; i + kLanes <= count; i += kLanes) body(i, Whole{});
  if (i < count) body(i, SomeLanes{count - i});
}

// The same, where body stores to target + offset: whole vectors that go past the caches start at multiples of their
// size, after a partial one if need be.
template <class Whole, class T, class Body>
FUSEDOPS_INLINE void for_each_vector_of(const T* target, int64_t count, Body&& body) {
  int64_t first = 0;
  if constexpr (__is_same(Whole, PastCaches)) {
    constexpr uintptr_t size = kLanes * sizeof(T);
    first = (size - reinterpret_cast<uintptr_t>(target) % size) % size / sizeof(T);
    if (first > count) first = count;
    if (first > 0) body(0, SomeLanes{first});
  }
  for_each_vector<Whole>(count, body, first);
}

// Calls body with PastCaches or AllLanes.
template <class Body>
FUSEDOPS_INLINE void dispatch_stores(bool past_caches, Body&& body) {
  if (past_caches) return body(PastCaches{});
  body(AllLanes{});
}

// Calls body with a null pointer of the element type that `dtype` names.
template <class Body>
FUSEDOPS_INLINE void dispatch_dtype(DType dtype, Body&& body) {
  if (dtype == DType::float32) return body(static_cast<const float*>(nullptr));
  if (dtype == DType::bfloat16) return body(static_cast<const bfloat16*>(nullptr));
  body(static_cast<const float16*>(nullptr));
}

}  // namespace fusedops::cpu::FUSEDOPS_ISA
