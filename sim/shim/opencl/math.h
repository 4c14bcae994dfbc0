// The mathematical functions: one overload for each type, so that mixed arguments are ambiguous as in Metal.
#pragma once
#include "vectors.h"

namespace metal {
#include "math_functions.inc"
namespace precise {
#include "math_functions.inc"
}
namespace fast {
#include "math_functions.inc"
}

#define MSL_INTEGER(T)                 \
  T min(T, T);                         \
  T max(T, T);                         \
  T clamp(T, T, T);                    \
  T popcount(T);                       \
  T clz(T);                            \
  T ctz(T);                            \
  T abs(T);                            \
  template <int N>                     \
  ext<T, N> min(ext<T, N>, ext<T, N>); \
  template <int N>                     \
  ext<T, N> max(ext<T, N>, ext<T, N>);
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

float ldexp(float, int);
half ldexp(half, int);
float frexp(float, __private int&);
float modf(float, __private float&);
float sincos(float, __private float&);
uint mulhi(uint, uint);
int mulhi(int, int);
uint rotate(uint, uint);
uint reverse_bits(uint);
uint extract_bits(uint, uint, uint);
uint insert_bits(uint, uint, uint, uint);
template <class T>
T select(T, T, bool);
template <class T, class C, int N>
ext<T, N> select(ext<T, N>, ext<T, N>, ext<C, N>);
template <class T, int N>
bool any(ext<T, N>);
template <class T, int N>
bool all(ext<T, N>);
template <class T, int N>
T dot(ext<T, N>, ext<T, N>);
template <class T, int N>
T length(ext<T, N>);
template <class T, int N>
T length_squared(ext<T, N>);
}  // namespace metal
