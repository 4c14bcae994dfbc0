// <metal_limits>: numeric_limits.
#pragma once

namespace metal {
template <class T>
struct numeric_limits {
  static constexpr bool is_signed = T(-1) < T(0), is_integer = true;
  static constexpr int digits = int(sizeof(T)) * 8 - is_signed;
  MSL_FN static constexpr T max() { return T(is_signed ? (1ull << digits) - 1 : ~0ull); }
  MSL_FN static constexpr T min() { return is_signed ? T(-max() - 1) : T(0); }
  MSL_FN static constexpr T lowest() { return min(); }
};

template <>
struct numeric_limits<bool> {
  static constexpr bool is_signed = false, is_integer = true;
  static constexpr int digits = 1;
  MSL_FN static constexpr bool max() { return true; }
  MSL_FN static constexpr bool min() { return false; }
  MSL_FN static constexpr bool lowest() { return false; }
};

namespace detail {
// The limits of a binary float of type T, stored in the bits B, of which the lowest `mantissa` are the mantissa.
template <class T, class B, int mantissa, int bias>
struct float_limits {
  static constexpr bool is_signed = true, is_integer = false;
  static constexpr int digits = mantissa + 1;
  static constexpr uint sign = 1u << (sizeof(B) * 8 - 1);
  static constexpr uint exponents = sign - (1u << mantissa);  // the bits of infinity
  MSL_FN static constexpr T of(uint bits) { return as_type<T>(B(bits)); }
  MSL_FN static constexpr T max() { return of(exponents - 1); }
  MSL_FN static constexpr T lowest() { return of(sign | (exponents - 1)); }
  MSL_FN static constexpr T min() { return of(1u << mantissa); }
  MSL_FN static constexpr T epsilon() { return of(uint(bias - mantissa) << mantissa); }
  MSL_FN static constexpr T infinity() { return of(exponents); }
  MSL_FN static constexpr T quiet_NaN() { return of(exponents | 1u << (mantissa - 1)); }
  MSL_FN static constexpr T denorm_min() { return of(1); }
};
}  // namespace detail

template <>
struct numeric_limits<float> : detail::float_limits<float, uint, 23, 127> {};
template <>
struct numeric_limits<half> : detail::float_limits<half, ushort, 10, 15> {};
template <>
struct numeric_limits<bfloat> : detail::float_limits<bfloat, ushort, 7, 127> {};
}  // namespace metal
