// Compiler builtins that Apple's own headers, and MLX's bf16_math.h, call. No kernel should need them.
#pragma once
#ifndef MSL_FN
#define MSL_FN
#endif

#define MSL_INTERNAL_1(f) \
  MSL_FN inline float __metal_##f(float x, bool) { return metal::f(x); }
#define MSL_INTERNAL_2(f) \
  MSL_FN inline float __metal_##f(float x, float y, bool) { return metal::f(x, y); }
#define MSL_INTERNAL_3(f) \
  MSL_FN inline float __metal_##f(float x, float y, float z, bool) { return metal::f(x, y, z); }
MSL_INTERNAL_1(acos)
MSL_INTERNAL_1(acosh)
MSL_INTERNAL_1(asin)
MSL_INTERNAL_1(asinh)
MSL_INTERNAL_1(atan)
MSL_INTERNAL_1(atanh)
MSL_INTERNAL_1(ceil)
MSL_INTERNAL_1(cos)
MSL_INTERNAL_1(cosh)
MSL_INTERNAL_1(cospi)
MSL_INTERNAL_1(exp)
MSL_INTERNAL_1(exp2)
MSL_INTERNAL_1(exp10)
MSL_INTERNAL_1(fabs)
MSL_INTERNAL_1(floor)
MSL_INTERNAL_1(fract)
MSL_INTERNAL_1(log)
MSL_INTERNAL_1(log10)
MSL_INTERNAL_1(log2)
MSL_INTERNAL_1(rint)
MSL_INTERNAL_1(round)
MSL_INTERNAL_1(rsqrt)
MSL_INTERNAL_1(sin)
MSL_INTERNAL_1(sinh)
MSL_INTERNAL_1(sinpi)
MSL_INTERNAL_1(sqrt)
MSL_INTERNAL_1(tan)
MSL_INTERNAL_1(tanh)
MSL_INTERNAL_1(tanpi)
MSL_INTERNAL_1(trunc)
MSL_INTERNAL_2(atan2)
MSL_INTERNAL_2(divide)
MSL_INTERNAL_2(fmax)
MSL_INTERNAL_2(fmin)
MSL_INTERNAL_2(fmod)
MSL_INTERNAL_2(pow)
MSL_INTERNAL_2(powr)
MSL_INTERNAL_3(fmax3)
MSL_INTERNAL_3(fmin3)
MSL_INTERNAL_3(fmedian3)
#undef MSL_INTERNAL_1
#undef MSL_INTERNAL_2
#undef MSL_INTERNAL_3

MSL_FN inline float __metal_fma(float x, float y, float z) { return metal::fma(x, y, z); }
#ifdef __OPENCL_CPP_VERSION__
float __metal_frexp(float x, __private int* k);
#else
MSL_FN inline float __metal_frexp(float x, int* k) { return metal::frexp(x, *k); }
#endif
MSL_FN inline float __metal_ldexp(float x, int k, bool) { return metal::ldexp(x, k); }
MSL_FN inline float __metal_nextafter(float x, float y) { return metal::nextafter(x, y); }

#define __metal_get_simdgroup_size(t) ((decltype(t))32)
#define __metal_get_thread_index_in_simdgroup(t) ((decltype(t))msl_rt_lane())
#define __metal_simd_broadcast metal::simd_broadcast
#define __metal_simd_shuffle metal::simd_shuffle
#define __metal_simd_shuffle_and_fill_down metal::simd_shuffle_and_fill_down
#define __metal_simd_shuffle_and_fill_up metal::simd_shuffle_and_fill_up
#define __metal_simd_shuffle_down metal::simd_shuffle_down
#define __metal_simd_shuffle_up metal::simd_shuffle_up
#define __metal_simd_shuffle_rotate_down metal::simd_shuffle_rotate_down
#define __metal_simd_shuffle_rotate_up metal::simd_shuffle_rotate_up
#define __metal_simd_shuffle_xor metal::simd_shuffle_xor
#define __metal_simd_max metal::simd_max
#define __metal_simd_min metal::simd_min
#define __metal_simd_sum metal::simd_sum
#define __metal_simd_product metal::simd_product
#define __metal_simd_xor(x) metal::simd_xor(__builtin_bit_cast(uint, x))
#define __metal_simd_prefix_exclusive_product metal::simd_prefix_exclusive_product
#define __metal_simd_prefix_exclusive_sum metal::simd_prefix_exclusive_sum
#define __metal_simd_prefix_inclusive_product metal::simd_prefix_inclusive_product
#define __metal_simd_prefix_inclusive_sum metal::simd_prefix_inclusive_sum
