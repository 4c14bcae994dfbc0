// half for nvcc: converts implicitly from and to every arithmetic type, as _Float16 does on the host.
#pragma once

struct half {
  ushort bits;

  half() = default;
  template <class T, std::enable_if_t<std::is_arithmetic<T>::value, int> = 0>
  MSL_FN constexpr half(T x) : bits(round(float(x))) {}
  template <class T, std::enable_if_t<std::is_arithmetic<T>::value, int> = 0>
  MSL_FN constexpr operator T() const {
    return T(widen(bits));
  }

  MSL_FN static constexpr ushort round(float x) {
    if (__builtin_is_constant_evaluated()) return round_constant(x);
    ushort result = 0;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(result) : "f"(x));
    return result;
  }

  MSL_FN static constexpr float widen(ushort bits) {
    if (__builtin_is_constant_evaluated()) return widen_constant(bits);
    float result = 0;
    asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(bits));
    return result;
  }

 private:
  MSL_FN static constexpr ushort round_constant(float x) {  // to nearest, ties to even
    const uint u = as_type<uint>(x), sign = u >> 16 & 0x8000, magnitude = u & 0x7fffffff;
    if (magnitude > 0x7f800000) return ushort(sign | 0x7e00);   // NaN
    if (magnitude >= 0x477ff000) return ushort(sign | 0x7c00);  // 65520 and above round to infinity
    if (magnitude < 0x33000000) return ushort(sign);            // below half of the smallest subnormal
    const bool normal = magnitude >= 0x38800000;
    const uint shift = normal ? 13 : 126 - (magnitude >> 23);
    const uint mantissa = normal ? magnitude - 0x38000000 : (magnitude & 0x7fffff) | 0x800000;
    const uint kept = mantissa >> shift, rest = mantissa & ((1u << shift) - 1), tie = 1u << (shift - 1);
    return ushort(sign | (kept + (rest > tie || (rest == tie && (kept & 1)))));
  }

  MSL_FN static constexpr float widen_constant(ushort bits) {
    const uint sign = uint(bits & 0x8000) << 16, magnitude = bits & 0x7fff;
    if (magnitude >= 0x7c00) return as_type<float>(sign | 0x7f800000 | (magnitude & 0x3ff) << 13);
    if (magnitude >= 0x400) return as_type<float>(sign | ((magnitude << 13) + 0x38000000));
    const float subnormal = float(magnitude) * (1.0f / 16777216.0f);
    return sign ? -subnormal : subnormal;
  }
};

MSL_SMALL_FLOAT(half)
