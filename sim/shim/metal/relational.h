// <metal_relational> and <metal_geometric>.
#pragma once

namespace metal {
template <class T>
MSL_FN constexpr enable_if_t<is_arithmetic_v<T>, T> select(T a, T b, bool c) {
  return c ? b : a;
}
template <class T, int N>
MSL_FN constexpr vec<T, N> select(const vec<T, N>& a, const vec<T, N>& b, const vec<bool, N>& c) {
  return detail::map([](T x, T y, bool second) { return second ? y : x; }, a, b, c);
}
template <int N>
MSL_FN constexpr bool any(const vec<bool, N>& a) {
  bool result = false;
  for (int i = 0; i < N; i++) result |= a.e[i];
  return result;
}
template <int N>
MSL_FN constexpr bool all(const vec<bool, N>& a) {
  bool result = true;
  for (int i = 0; i < N; i++) result &= a.e[i];
  return result;
}

template <class T, int N>
MSL_FN constexpr T dot(const vec<T, N>& a, const vec<T, N>& b) {
  T sum = T(a.e[0] * b.e[0]);
  for (int i = 1; i < N; i++) sum = T(sum + a.e[i] * b.e[i]);
  return sum;
}
template <class T, int N>
MSL_FN T length_squared(const vec<T, N>& a) {
  return dot(a, a);
}
template <class T, int N>
MSL_FN T length(const vec<T, N>& a) {
  return sqrt(dot(a, a));
}
}  // namespace metal
