// SIMD-group and quad-group functions, and simdgroup_matrix.
#pragma once
#include "vectors.h"

namespace metal {
namespace detail {
template <class T>
using simd_ok = enable_if_t<is_arithmetic_v<typename elem<T>::type> && sizeof(typename elem<T>::type) <= 4 &&
                                !is_same_v<typename elem<T>::type, bfloat>,
                            int>;
}  // namespace detail

#define MSL_SIMD(...)                        \
  template <class T, detail::simd_ok<T> = 0> \
  T __VA_ARGS__;
#define MSL_BOTH(name, ...) MSL_SIMD(simd_##name(T, ##__VA_ARGS__)) MSL_SIMD(quad_##name(T, ##__VA_ARGS__))
MSL_BOTH(sum)
MSL_BOTH(product)
MSL_BOTH(max)
MSL_BOTH(min)
MSL_BOTH(and)
MSL_BOTH(or)
MSL_BOTH(xor)
MSL_BOTH(shuffle, ushort)
MSL_BOTH(broadcast, ushort)
MSL_BOTH(shuffle_xor, ushort)
MSL_BOTH(shuffle_up, ushort)
MSL_BOTH(shuffle_down, ushort)
MSL_BOTH(shuffle_rotate_up, ushort)
MSL_BOTH(shuffle_rotate_down, ushort)
MSL_BOTH(broadcast_first)
MSL_BOTH(prefix_inclusive_sum)
MSL_BOTH(prefix_exclusive_sum)
MSL_BOTH(prefix_inclusive_product)
MSL_BOTH(prefix_exclusive_product)
MSL_SIMD(simd_shuffle_and_fill_up(T, T, ushort, ushort = 32))
MSL_SIMD(simd_shuffle_and_fill_down(T, T, ushort, ushort = 32))
#undef MSL_SIMD
#undef MSL_BOTH

struct simd_vote {
  typedef ulong vote_t;
  explicit simd_vote(vote_t);
  explicit operator vote_t() const;
  bool all() const;
  bool any() const;
};

simd_vote simd_ballot(bool);
simd_vote simd_active_threads_mask();
bool simd_all(bool);
bool simd_any(bool);
bool simd_is_first();

template <class T, int C, int R>
struct simdgroup_matrix {
  static_assert(C == 8 && R == 8, "only 8x8 exists");
  vec<T, 2> msl_elements;
  simdgroup_matrix() __private = default;
  explicit simdgroup_matrix(T);  // of any space: clang makes temporaries by no other
  __private vec<T, 2>& thread_elements() __private;
  __private const vec<T, 2>& thread_elements() const __private;
};

typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
typedef simdgroup_matrix<bfloat, 8, 8> simdgroup_bfloat8x8;

template <class T, int C, int R = C>
simdgroup_matrix<T, C, R> make_filled_simdgroup_matrix(T);
#define MSL_FOR_SPACE(SPACE)                                                                                      \
  template <class T>                                                                                              \
  void simdgroup_load(__private simdgroup_matrix<T, 8, 8>&, const SPACE T*, ulong = 8, ulong2 = 0, bool = false); \
  template <class T>                                                                                              \
  void simdgroup_store(simdgroup_matrix<T, 8, 8>, SPACE T*, ulong = 8, ulong2 = 0, bool = false);
MSL_FOR_SPACE(__global)
MSL_FOR_SPACE(__local)
#undef MSL_FOR_SPACE

template <class D, class A, class B>
void simdgroup_multiply(__private simdgroup_matrix<D, 8, 8>&, simdgroup_matrix<A, 8, 8>, simdgroup_matrix<B, 8, 8>);

template <class D, class A, class B, class C>
void simdgroup_multiply_accumulate(__private simdgroup_matrix<D, 8, 8>&, simdgroup_matrix<A, 8, 8>,
                                   simdgroup_matrix<B, 8, 8>, simdgroup_matrix<C, 8, 8>);

template <class T>
simdgroup_matrix<T, 8, 8> operator*(simdgroup_matrix<T, 8, 8>, simdgroup_matrix<T, 8, 8>);
}  // namespace metal
