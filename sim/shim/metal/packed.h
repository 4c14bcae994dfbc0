// packed_vec (packed_float3 and the like: aligned as one component), array and uniform.
#pragma once

namespace metal {
template <class T, int N>
struct packed_vec {
  T e[N];
  packed_vec() = default;
  MSL_FN constexpr packed_vec(const vec<T, N>& v) : e{} {
    for (int i = 0; i < N; i++) e[i] = v.e[i];
  }
  MSL_FN constexpr operator vec<T, N>() const {
    vec<T, N> v{};
    for (int i = 0; i < N; i++) v.e[i] = e[i];
    return v;
  }
  MSL_FN constexpr T& operator[](int i) { return e[i]; }
  MSL_FN constexpr const T& operator[](int i) const { return e[i]; }
};

template <class T, size_t N>
struct array {
  T v[N];
  MSL_FN constexpr T& operator[](size_t i) { return v[i]; }
  MSL_FN constexpr const T& operator[](size_t i) const { return v[i]; }
  MSL_FN constexpr size_t size() const { return N; }
};

template <class T>
using uniform = T;
template <class T>
MSL_FN constexpr T make_uniform(T x) {
  return x;
}
}  // namespace metal
