// Definitions for what opencl/math.h declares.
#pragma once
#include "built_ins.h"
#include "metal_opencl.h"

namespace metal {
// tanh of half the logarithm of e.
#define MSL_TANH(e)                                    \
  ({                                                   \
    const float msl_e = e;                             \
    (msl_e - 1) * __spirv_ocl_native_recip(msl_e + 1); \
  })
#define MSL_EXP(x) __spirv_ocl_native_exp2(x * 1.44269504f)
#include "math_functions_of_precision.inc"
namespace fast {
#include "math_functions_of_precision.inc"
}
#undef MSL_EXP

// Ours, and a guess: nothing that was measured tells what Apple's precise functions are. exp corrects the rounding of
// its product with log2(e).
namespace precise {
inline float msl_exp(float x) {
  const float high = x * 1.44269504f;
  const float low = __spirv_ocl_fma(x, 1.92596299e-8f, __spirv_ocl_fma(x, 1.44269504f, -high));
  const float y = __spirv_ocl_native_exp2(high);
  return __spirv_ocl_fma(y, low * 0.693147181f, y);
}
#define MSL_EXP(x) msl_exp(x)
#include "math_functions_of_precision.inc"
#undef MSL_EXP
}  // namespace precise
#undef MSL_TANH

#define MSL_INTEGER(T)                             \
  inline T min(T x, T y) { return x < y ? x : y; } \
  inline T max(T x, T y) { return x > y ? x : y; } \
  inline T clamp(T x, T low, T high) { return min(max(x, low), high); }
MSL_INTEGER(char)
MSL_INTEGER(int8_t)
MSL_INTEGER(uchar)
MSL_INTEGER(short)
MSL_INTEGER(ushort)
MSL_INTEGER(int)
MSL_INTEGER(uint)
MSL_INTEGER(long)
MSL_INTEGER(ulong)
#undef MSL_INTEGER

template <class T>
T select(T x, T y, bool condition) {
  return condition ? y : x;
}

template <class T, class C, int N>
ext<T, N> select(ext<T, N> x, ext<T, N> y, ext<C, N> condition) {
  ext<T, N> z;
#pragma unroll
  for (int i = 0; i < N; ++i) z[i] = condition[i] ? y[i] : x[i];
  return z;
}

template <class T, int N>
bool any(ext<T, N> x) {
  bool found = false;
#pragma unroll
  for (int i = 0; i < N; ++i) found = found || x[i];
  return found;
}

template <class T, int N>
bool all(ext<T, N> x) {
  bool found = true;
#pragma unroll
  for (int i = 0; i < N; ++i) found = found && x[i];
  return found;
}

template <class T, int N>
T dot(ext<T, N> x, ext<T, N> y) {
  T sum = x[0] * y[0];
#pragma unroll
  for (int i = 1; i < N; ++i) sum += x[i] * y[i];
  return sum;
}
}  // namespace metal
