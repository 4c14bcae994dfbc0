// Operators of vectors, component by component; a scalar operand is spread.
#pragma once

namespace metal {
#define MSL_VECTOR_OPERATOR(op, result, element)                                             \
  template <class T, int N>                                                                  \
  MSL_FN constexpr vec<result, N> operator op(const vec<T, N>& a, const vec<T, N>& b) {      \
    vec<result, N> r{};                                                                      \
    for (int i = 0; i < N; i++) r.e[i] = element(a.e[i] op b.e[i]);                          \
    return r;                                                                                \
  }                                                                                          \
  template <class T, int N>                                                                  \
  MSL_FN constexpr vec<result, N> operator op(const vec<T, N>& a, detail::identity_t<T> b) { \
    return a op vec<T, N>(b);                                                                \
  }                                                                                          \
  template <class T, int N>                                                                  \
  MSL_FN constexpr vec<result, N> operator op(detail::identity_t<T> a, const vec<T, N>& b) { \
    return vec<T, N>(a) op b;                                                                \
  }
#define MSL_VECTOR_ARITHMETIC(op)                                                                       \
  MSL_VECTOR_OPERATOR(op, T, T)                                                                         \
  template <class T, int N>                                                                             \
  MSL_FN constexpr vec<T, N>& operator op## = (vec<T, N> & a, const detail::identity_t<vec<T, N>>& b) { \
    return a = a op b;                                                                                  \
  }
#define MSL_VECTOR_COMPARISON(op) MSL_VECTOR_OPERATOR(op, bool, bool)

MSL_VECTOR_ARITHMETIC(+)
MSL_VECTOR_ARITHMETIC(-)
MSL_VECTOR_ARITHMETIC(*)
MSL_VECTOR_ARITHMETIC(/)
MSL_VECTOR_ARITHMETIC(%)
MSL_VECTOR_ARITHMETIC(&)
MSL_VECTOR_ARITHMETIC(|)
MSL_VECTOR_ARITHMETIC(^)
MSL_VECTOR_ARITHMETIC(<<)
MSL_VECTOR_ARITHMETIC(>>)
MSL_VECTOR_COMPARISON(==)
MSL_VECTOR_COMPARISON(!=)
MSL_VECTOR_COMPARISON(<)
MSL_VECTOR_COMPARISON(>)
MSL_VECTOR_COMPARISON(<=)
MSL_VECTOR_COMPARISON(>=)
MSL_VECTOR_COMPARISON(&&)
MSL_VECTOR_COMPARISON(||)
#undef MSL_VECTOR_ARITHMETIC
#undef MSL_VECTOR_COMPARISON
#undef MSL_VECTOR_OPERATOR

template <class T, int N>
MSL_FN constexpr vec<T, N> operator-(const vec<T, N>& a) {
  return detail::map([](T x) { return T(-x); }, a);
}
template <class T, int N>
MSL_FN constexpr vec<T, N> operator~(const vec<T, N>& a) {
  return detail::map([](T x) { return T(~x); }, a);
}
template <class T, int N>
MSL_FN constexpr vec<bool, N> operator!(const vec<T, N>& a) {
  return detail::map([](T x) { return !x; }, a);
}
}  // namespace metal
