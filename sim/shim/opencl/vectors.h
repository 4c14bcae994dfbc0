// Clang's own vectors, as in Apple's compiler. The translator writes their constructors as msl_make<V>(...).
#pragma once
#include "traits.h"

namespace metal {
namespace detail {
template <class T>
struct elem {
  using type = T;
};

template <class T, int N>
using ext = T __attribute__((ext_vector_type(N)));

template <class T, int N>
struct elem<ext<T, N>> {
  using type = T;
};

template <class T>
struct ident {
  using type = T;
};

template <class T>
using ident_t = typename ident<T>::type;
}  // namespace detail

template <class T, int N>
using vec = T __attribute__((ext_vector_type(N)));  // not for bool: OpenCL has no such vectors
template <class T, int N>
struct packed_vec {
  T e[N];
#define MSL_FOR_SPACE(SPACE)        \
  operator vec<T, N>() const SPACE; \
  SPACE const T& operator[](int) const SPACE;
  MSL_FOR_SPACE(__global)
  MSL_FOR_SPACE(__local)
  MSL_FOR_SPACE(__constant)
  MSL_FOR_SPACE(__private)
#undef MSL_FOR_SPACE
#define MSL_FOR_SPACE(SPACE)      \
  SPACE T& operator[](int) SPACE; \
  SPACE packed_vec& operator=(vec<T, N>) SPACE;
  MSL_FOR_SPACE(__global)
  MSL_FOR_SPACE(__local)
  MSL_FOR_SPACE(__private)
#undef MSL_FOR_SPACE
};

template <class T, size_t N>
struct array {
  T v[N];
  __private T& operator[](size_t) __private;
};

template <class T>
using uniform = T;

template <class T>
constexpr T make_uniform(T x) {
  return x;
}
}  // namespace metal

template <class T>
constexpr int msl_lanes = 1;

template <class T, int N>
constexpr int msl_lanes<T __attribute__((ext_vector_type(N)))> = N;

// A component or a vector with components of type E.
template <class E, class A>
constexpr auto msl_converted(A a) {
  if constexpr (msl_lanes<A> == 1)
    return E(a);
  else if constexpr (metal::is_same_v<E, typename metal::detail::elem<A>::type>)
    return a;
  else
    return __builtin_convertvector(a, metal::detail::ext<E, msl_lanes<A>>);
}

template <class V, class... A>
constexpr V msl_make(A... a) {
  using E = typename metal::detail::elem<V>::type;
  static_assert(sizeof...(A) == 1 || (msl_lanes<A> + ...) == msl_lanes<V>, "wrong number of components");
  if constexpr ((msl_lanes<A> + ...) == 1)
    return V(E((a, ...)));
  else
    return V{msl_converted<E>(a)...};
}

#define MSL_VECTORS(T, n)                        \
  typedef metal::vec<T, 2> n##2;                 \
  typedef metal::vec<T, 3> n##3;                 \
  typedef metal::vec<T, 4> n##4;                 \
  typedef metal::packed_vec<T, 2> packed_##n##2; \
  typedef metal::packed_vec<T, 3> packed_##n##3; \
  typedef metal::packed_vec<T, 4> packed_##n##4;
MSL_VECTORS(char, bool)
MSL_VECTORS(char, char)
MSL_VECTORS(uchar, uchar)
MSL_VECTORS(short, short)
MSL_VECTORS(ushort, ushort)
MSL_VECTORS(int, int)
MSL_VECTORS(uint, uint)
MSL_VECTORS(long, long)
MSL_VECTORS(ulong, ulong)
MSL_VECTORS(half, half)
MSL_VECTORS(bfloat, bfloat)
MSL_VECTORS(float, float)
#undef MSL_VECTORS

template <class T, class U>
constexpr T as_type(U x) {
  static_assert(sizeof(T) == sizeof(U), "as_type needs types of the same size");
  return __builtin_bit_cast(T, x);
}
