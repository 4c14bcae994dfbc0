// bfloat: the upper half of a float. As in Metal there is no implicit conversion from float or half, nor to half.
#pragma once

struct bfloat {
  ushort bits;

  bfloat() = default;
  template <class T, std::enable_if_t<std::is_integral<T>::value, int> = 0>
  MSL_FN constexpr bfloat(T x) : bits(round(float(x))) {}
  template <class T, std::enable_if_t<std::is_floating_point<T>::value || std::is_same<T, half>::value, int> = 0>
  MSL_FN explicit constexpr bfloat(T x) : bits(round(float(x))) {}
  template <bool B>
  MSL_FN constexpr bfloat(std::integral_constant<bool, B>) : bits(round(float(B))) {}

  template <class T, std::enable_if_t<std::is_arithmetic<T>::value && !std::is_same<T, half>::value, int> = 0>
  MSL_FN constexpr operator T() const {
    return T(widen(bits));
  }
  template <class T, std::enable_if_t<std::is_same<T, half>::value, int> = 0>
  MSL_FN explicit constexpr operator T() const {
    return T(widen(bits));
  }

  MSL_FN static constexpr float widen(ushort bits) { return as_type<float>(uint(bits) << 16); }

  MSL_FN static constexpr ushort round(float x) {  // to nearest, ties to even
#ifdef MSL_CUDA
    if (!__builtin_is_constant_evaluated()) {
      ushort result = 0;
      asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(result) : "f"(x));
      return result;
    }
#endif
    const uint u = as_type<uint>(x);
    const bool nan = (u & 0x7fffffff) > 0x7f800000;
    return nan ? ushort(u >> 16 | 0x40) : ushort((u + 0x7fff + (u >> 16 & 1)) >> 16);
  }
};

MSL_SMALL_FLOAT(bfloat)
