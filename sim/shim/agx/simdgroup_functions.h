// Definitions for what opencl/simdgroup.h and opencl/synchronization.h declare.
#pragma once
#include "built_ins.h"
#include "metal_opencl.h"

namespace metal {
inline void threadgroup_barrier(mem_flags) { __spirv_ControlBarrier(2, 2, 0x100 | 0x10); }
inline void simdgroup_barrier(mem_flags) {}  // a SIMD-group runs in step: it only keeps the compiler from reordering

// ---- Shuffles: one instruction each by construction. Mesa's own for an index that differs by lane takes four.
inline float msl_shuffle(float x, uint lane) { return __spirv_GroupNonUniformBroadcast(3, x, lane); }
inline half msl_shuffle(half x, uint lane) { return __spirv_GroupNonUniformBroadcast(3, x, lane); }
inline int msl_shuffle(int x, uint lane) { return __spirv_GroupNonUniformBroadcast(3, x, lane); }
inline uint msl_shuffle(uint x, uint lane) { return __spirv_GroupNonUniformBroadcast(3, x, lane); }

template <class T, detail::simd_ok<T>>
T simd_shuffle(T value, ushort lane) {
  using E = typename detail::elem<T>::type;
  if constexpr (msl_lanes<T> == 1) {
    return T(msl_shuffle(value, lane));
  } else {
    T result;
#pragma unroll
    for (int i = 0; i < msl_lanes<T>; ++i) result[i] = E(msl_shuffle(value[i], lane));
    return result;
  }
}

#define MSL_SHUFFLE(name, lane)               \
  template <class T, detail::simd_ok<T>>      \
  T name(T value, ushort argument) {          \
    return simd_shuffle(value, ushort(lane)); \
  }
MSL_SHUFFLE(simd_broadcast, argument)
MSL_SHUFFLE(simd_shuffle_xor, msl_rt_lane() ^ argument)
MSL_SHUFFLE(simd_shuffle_up, msl_rt_lane() - argument)
MSL_SHUFFLE(simd_shuffle_down, msl_rt_lane() + argument)
MSL_SHUFFLE(simd_shuffle_rotate_up, (msl_rt_lane() - argument) & 31)
MSL_SHUFFLE(simd_shuffle_rotate_down, (msl_rt_lane() + argument) & 31)
MSL_SHUFFLE(quad_shuffle, (msl_rt_lane() & 28) | argument)
MSL_SHUFFLE(quad_broadcast, (msl_rt_lane() & 28) | argument)
MSL_SHUFFLE(quad_shuffle_xor, msl_rt_lane() ^ argument)
#undef MSL_SHUFFLE

template <class T, detail::simd_ok<T>>
T simd_broadcast_first(T value) {
  return simd_shuffle(value, 0);
}

// ---- Reductions: of a SIMD-group one instruction, too.
#define MSL_REDUCTION(name, Floats, Signed, Unsigned)                                               \
  inline float msl_##name(float x) { return __spirv_Group##Floats(3, 0, x); }                       \
  inline half msl_##name(half x) { return __spirv_Group##Floats(3, 0, x); }                         \
  inline int msl_##name(int x) { return __spirv_Group##Signed(3, 0, x); }                           \
  inline uint msl_##name(uint x) { return __spirv_Group##Unsigned(3, 0, x); }                       \
  template <class T, detail::simd_ok<T>>                                                            \
  T simd_##name(T value) {                                                                          \
    using E = typename detail::elem<T>::type;                                                       \
    if constexpr (msl_lanes<T> == 1) {                                                              \
      return T(msl_##name(value));                                                                  \
    } else {                                                                                        \
      T result;                                                                                     \
      _Pragma("unroll") for (int i = 0; i < msl_lanes<T>; ++i) result[i] = E(msl_##name(value[i])); \
      return result;                                                                                \
    }                                                                                               \
  }
MSL_REDUCTION(sum, FAdd, IAdd, IAdd)
MSL_REDUCTION(max, FMax, SMax, UMax)
MSL_REDUCTION(min, FMin, SMin, UMin)
#undef MSL_REDUCTION
inline bool simd_all(bool x) { return __spirv_GroupAll(3, x); }
inline bool simd_any(bool x) { return __spirv_GroupAny(3, x); }
inline bool simd_is_first() { return msl_rt_lane() == 0; }

// ---- simdgroup_matrix. A lane holds the elements (row, column) and (row, column + 1), as on Apple's GPUs.
inline uint msl_row() { return ((msl_rt_lane() & 16) >> 2) | ((msl_rt_lane() >> 1) & 3); }
inline uint msl_column() { return ((msl_rt_lane() & 8) >> 1) | ((msl_rt_lane() & 1) << 1); }

template <class T, int C, int R>
simdgroup_matrix<T, C, R>::simdgroup_matrix(T x) {
  msl_elements.x = x;
  msl_elements.y = x;
}

template <class T, int C, int R>
__private vec<T, 2>& simdgroup_matrix<T, C, R>::thread_elements() __private {
  return msl_elements;
}

template <class T, int C, int R>
__private const vec<T, 2>& simdgroup_matrix<T, C, R>::thread_elements() const __private {
  return msl_elements;
}

template <class T, int C, int R>
simdgroup_matrix<T, C, R> make_filled_simdgroup_matrix(T x) {
  simdgroup_matrix<T, C, R> m;
  m.msl_elements.x = x;
  m.msl_elements.y = x;
  return m;
}

#define MSL_FOR_SPACE(SPACE)                                                                                       \
  template <class T>                                                                                               \
  void simdgroup_load(__private simdgroup_matrix<T, 8, 8>& m, const SPACE T* p, ulong stride, ulong2 origin,       \
                      bool is_transposed) {                                                                        \
    const uint row = is_transposed ? msl_column() : msl_row();                                                     \
    const uint column = is_transposed ? msl_row() : msl_column();                                                  \
    p += (row + origin.y) * stride + column + origin.x;                                                            \
    m.msl_elements.x = p[0];                                                                                       \
    m.msl_elements.y = p[is_transposed ? stride : 1];                                                              \
  }                                                                                                                \
  template <class T>                                                                                               \
  void simdgroup_store(simdgroup_matrix<T, 8, 8> m, SPACE T* p, ulong stride, ulong2 origin, bool is_transposed) { \
    const uint row = is_transposed ? msl_column() : msl_row();                                                     \
    const uint column = is_transposed ? msl_row() : msl_column();                                                  \
    p += (row + origin.y) * stride + column + origin.x;                                                            \
    p[0] = m.msl_elements.x;                                                                                       \
    p[is_transposed ? stride : 1] = m.msl_elements.y;                                                              \
  }
MSL_FOR_SPACE(__global)
MSL_FOR_SPACE(__local)
#undef MSL_FOR_SPACE

// With a Mesa that agx/matrix_instruction.py has edited (MSL_MATRIX) a product is the real instruction, called by the
// name of the one that stands for it. Without, its place is taken by two multiply-adds with the same registers.
#ifdef MSL_MATRIX
#define MSL_PRODUCT(suffix, A, B) \
  float2 msl_product(float2, A, B, uint, uint, uint, uint, uint) __asm("nir_dpas_intel__" suffix);
MSL_PRODUCT("ff", float2, float2)
MSL_PRODUCT("fh", float2, half2)
MSL_PRODUCT("hf", half2, float2)
MSL_PRODUCT("hh", half2, half2)
#undef MSL_PRODUCT
inline float2 msl_operand(float2 x) { return x; }
inline half2 msl_operand(half2 x) { return x; }
inline float2 msl_operand(bfloat2 x) { return msl_make<float2>(x); }
#endif

template <class D, class A, class B, class C>
void simdgroup_multiply_accumulate(__private simdgroup_matrix<D, 8, 8>& d, simdgroup_matrix<A, 8, 8> a,
                                   simdgroup_matrix<B, 8, 8> b, simdgroup_matrix<C, 8, 8> c) {
  const auto x = a.msl_elements;
  const auto y = b.msl_elements;
  const float2 z = msl_make<float2>(c.msl_elements);
#ifdef MSL_MATRIX
  const float2 sum = msl_product(z, msl_operand(x), msl_operand(y), 0, 0, 0, 0, 0);
  d.msl_elements.x = D(sum.x);
  d.msl_elements.y = D(sum.y);
#else
  d.msl_elements.x = D(__spirv_ocl_fma(float(x.x), float(y.x), z.x));
  d.msl_elements.y = D(__spirv_ocl_fma(float(x.y), float(y.y), z.y));
#endif
}

template <class D, class A, class B>
void simdgroup_multiply(__private simdgroup_matrix<D, 8, 8>& d, simdgroup_matrix<A, 8, 8> a,
                        simdgroup_matrix<B, 8, 8> b) {
  simdgroup_multiply_accumulate(d, a, b, simdgroup_matrix<D, 8, 8>(D(0)));
}

template <class T>
simdgroup_matrix<T, 8, 8> operator*(simdgroup_matrix<T, 8, 8> a, simdgroup_matrix<T, 8, 8> b) {
  simdgroup_matrix<T, 8, 8> product;
  simdgroup_multiply(product, a, b);
  return product;
}
}  // namespace metal
