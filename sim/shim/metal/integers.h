// <metal_integer> and the integer overloads of <metal_common>.
#pragma once

namespace metal {
namespace detail {
template <class T>
MSL_FN constexpr ulong bits_of(T x) {  // without the sign's extension
  return ulong(x) & (~0ull >> (64 - 8 * sizeof(T)));
}
}  // namespace detail

#define MSL_INTEGER(T)                                                                         \
  MSL_FN constexpr T min(T a, T b) { return b < a ? b : a; }                                   \
  MSL_FN constexpr T max(T a, T b) { return a < b ? b : a; }                                   \
  MSL_FN constexpr T clamp(T x, T low, T high) { return x < low ? low : high < x ? high : x; } \
  MSL_FN constexpr T popcount(T x) { return T(__builtin_popcountll(detail::bits_of(x))); }     \
  MSL_FN constexpr T clz(T x) {                                                                \
    const int width = 8 * sizeof(T);                                                           \
    return T(x ? __builtin_clzll(detail::bits_of(x)) - (64 - width) : width);                  \
  }                                                                                            \
  MSL_FN constexpr T ctz(T x) { return T(x ? __builtin_ctzll(ulong(x)) : 8 * sizeof(T)); }     \
  template <int N>                                                                             \
  MSL_FN constexpr vec<T, N> min(const vec<T, N>& a, const detail::identity_t<vec<T, N>>& b) { \
    return detail::map([](T x, T y) { return y < x ? y : x; }, a, b);                          \
  }                                                                                            \
  template <int N>                                                                             \
  MSL_FN constexpr vec<T, N> max(const vec<T, N>& a, const detail::identity_t<vec<T, N>>& b) { \
    return detail::map([](T x, T y) { return x < y ? y : x; }, a, b);                          \
  }
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

#define MSL_ABSOLUTE(T) \
  MSL_FN constexpr T abs(T a) { return a < 0 ? T(-a) : a; }
MSL_ABSOLUTE(char)
MSL_ABSOLUTE(int8_t)
MSL_ABSOLUTE(short)
MSL_ABSOLUTE(int)
MSL_ABSOLUTE(long)
#undef MSL_ABSOLUTE
MSL_FN constexpr uint abs(uint a) { return a; }

MSL_FN constexpr uint mulhi(uint a, uint b) { return uint(ulong(a) * b >> 32); }
MSL_FN constexpr int mulhi(int a, int b) { return int(long(a) * b >> 32); }
MSL_FN constexpr uint rotate(uint a, uint n) { return a << (n & 31) | a >> (-n & 31); }
MSL_FN constexpr uint reverse_bits(uint x) {
  uint reversed = 0;
  for (int i = 0; i < 32; i++) reversed |= (x >> i & 1) << (31 - i);
  return reversed;
}
MSL_FN constexpr uint extract_bits(uint x, uint offset, uint count) {
  return count ? x >> offset & (~0u >> (32 - count)) : 0;
}
MSL_FN constexpr uint insert_bits(uint base, uint insert, uint offset, uint count) {
  const uint mask = count ? (~0u >> (32 - count)) << offset : 0;
  return (base & ~mask) | (insert << offset & mask);
}
}  // namespace metal
