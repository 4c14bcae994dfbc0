// <metal_math> and the floating-point part of <metal_common>.
//
// Scalars get one overload per type, as in Apple's headers, so that a call with mixed types is ambiguous here too.
// bfloat arguments become float. In vector calls the later arguments may be scalars. MSL_LIBM(f) names C's float
// function f: a compiler builtin where the target does not say otherwise, so that no header and none of its names comes
// in. MSL_FAST(f) names fast::f for those functions that a GPU has instructions for; MSL_EXPONENTIAL(f, x) is C's
// exponential function f.
#pragma once
#ifndef MSL_LIBM
#define MSL_LIBM(name) __builtin_##name##f
#endif
#ifndef MSL_EXPONENTIAL
#define MSL_EXPONENTIAL(name, x) MSL_LIBM(name)(x)
#endif
#ifndef MSL_FAST
#define MSL_FAST(name) metal::name
#endif

namespace metal {
namespace detail {
template <class T>
using only_bfloat = enable_if_t<is_same_v<T, bfloat>, int>;
template <class T>
using float_or_half = enable_if_t<is_one_of<T, float, half>, int>;
}  // namespace detail

#define MSL_FLOAT_1(result, name, expression)                                      \
  MSL_FN inline result<float> name(float x) { return expression; }                 \
  MSL_FN inline result<half> name(half x) { return result<half>(name(float(x))); } \
  template <class T, detail::only_bfloat<T> = 0>                                   \
  MSL_FN inline result<float> name(T x) {                                          \
    return name(float(x));                                                         \
  }                                                                                \
  template <class T, int N, detail::float_or_half<T> = 0>                          \
  MSL_FN inline vec<result<T>, N> name(const vec<T, N>& a) {                       \
    return detail::map([](T x) { return name(x); }, a);                            \
  }
#define MSL_FLOAT_2(name, expression)                                                        \
  MSL_FN inline float name(float x, float y) { return expression; }                          \
  MSL_FN inline half name(half x, half y) { return half(name(float(x), float(y))); }         \
  template <class T, detail::only_bfloat<T> = 0>                                             \
  MSL_FN inline float name(T x, T y) {                                                       \
    return name(float(x), float(y));                                                         \
  }                                                                                          \
  template <class T, int N, detail::float_or_half<T> = 0>                                    \
  MSL_FN inline vec<T, N> name(const vec<T, N>& a, const detail::identity_t<vec<T, N>>& b) { \
    return detail::map([](T x, T y) { return name(x, y); }, a, b);                           \
  }
#define MSL_FLOAT_3(name, expression)                                                                  \
  MSL_FN inline float name(float x, float y, float z) { return expression; }                           \
  MSL_FN inline half name(half x, half y, half z) { return half(name(float(x), float(y), float(z))); } \
  template <class T, detail::only_bfloat<T> = 0>                                                       \
  MSL_FN inline float name(T x, T y, T z) {                                                            \
    return name(float(x), float(y), float(z));                                                         \
  }                                                                                                    \
  template <class T, int N, detail::float_or_half<T> = 0>                                              \
  MSL_FN inline vec<T, N> name(const vec<T, N>& a, const detail::identity_t<vec<T, N>>& b,             \
                               const detail::identity_t<vec<T, N>>& c) {                               \
    return detail::map([](T x, T y, T z) { return name(x, y, z); }, a, b, c);                          \
  }

namespace detail {
template <class T>
using same = T;
template <class T>
using truth = bool;
inline constexpr float pi = 3.14159265358979323846f;
}  // namespace detail

#define MSL_UNARY(name, expression) MSL_FLOAT_1(detail::same, name, expression)
#define MSL_UNARY_LIBM(name) MSL_UNARY(name, MSL_LIBM(name)(x))
MSL_UNARY_LIBM(acos)
MSL_UNARY_LIBM(acosh)
MSL_UNARY_LIBM(asin)
MSL_UNARY_LIBM(asinh)
MSL_UNARY_LIBM(atan)
MSL_UNARY_LIBM(atanh)
MSL_UNARY_LIBM(ceil)
MSL_UNARY_LIBM(cos)
MSL_UNARY_LIBM(cosh)
MSL_UNARY(exp, MSL_EXPONENTIAL(exp, x))
MSL_UNARY(exp2, MSL_EXPONENTIAL(exp2, x))
MSL_UNARY(exp10, MSL_EXPONENTIAL(exp10, x))
MSL_UNARY_LIBM(fabs)
MSL_UNARY_LIBM(floor)
MSL_UNARY_LIBM(log)
MSL_UNARY_LIBM(log10)
MSL_UNARY_LIBM(log2)
MSL_UNARY_LIBM(rint)
MSL_UNARY_LIBM(round)
MSL_UNARY_LIBM(sin)
MSL_UNARY_LIBM(sinh)
MSL_UNARY_LIBM(sqrt)
MSL_UNARY_LIBM(tan)
MSL_UNARY_LIBM(tanh)
MSL_UNARY_LIBM(trunc)
MSL_UNARY(abs, MSL_LIBM(fabs)(x))
#ifdef MSL_CUDA
MSL_UNARY_LIBM(rsqrt)
#else
MSL_UNARY(rsqrt, 1.0f / MSL_LIBM(sqrt)(x))
#endif
MSL_UNARY(fract, x - MSL_LIBM(floor)(x))
MSL_UNARY(cospi, MSL_LIBM(cos)(x* detail::pi))
MSL_UNARY(sinpi, MSL_LIBM(sin)(x* detail::pi))
MSL_UNARY(tanpi, MSL_LIBM(tan)(x* detail::pi))
MSL_UNARY(sign, x > 0 ? 1.0f : x < 0 ? -1.0f : x == x ? x : 0.0f)
MSL_UNARY(saturate, x > 0 ? (x < 1 ? x : 1.0f) : 0.0f)
#undef MSL_UNARY_LIBM
#undef MSL_UNARY

#define MSL_PREDICATE(name, expression) MSL_FLOAT_1(detail::truth, name, expression)
MSL_PREDICATE(isnan, x != x)
MSL_PREDICATE(isinf, (as_type<uint>(x) & 0x7fffffff) == 0x7f800000)
MSL_PREDICATE(isfinite, (as_type<uint>(x) & 0x7f800000) != 0x7f800000)
MSL_PREDICATE(isnormal, (as_type<uint>(x) & 0x7f800000) != 0x7f800000 && (as_type<uint>(x) & 0x7f800000) != 0)
MSL_PREDICATE(signbit, as_type<uint>(x) >> 31)
#undef MSL_PREDICATE

#define MSL_BINARY_LIBM(name) MSL_FLOAT_2(name, MSL_LIBM(name)(x, y))
MSL_BINARY_LIBM(atan2)
MSL_BINARY_LIBM(copysign)
MSL_BINARY_LIBM(fdim)
MSL_BINARY_LIBM(fmod)
MSL_BINARY_LIBM(fmax)
MSL_BINARY_LIBM(fmin)
MSL_BINARY_LIBM(nextafter)
MSL_BINARY_LIBM(pow)
MSL_FLOAT_2(max, MSL_LIBM(fmax)(x, y))
MSL_FLOAT_2(min, MSL_LIBM(fmin)(x, y))
MSL_FLOAT_2(powr, MSL_LIBM(pow)(x, y))
MSL_FLOAT_2(divide, x / y)
MSL_FLOAT_2(step, y < x ? 0.0f : 1.0f)
#undef MSL_BINARY_LIBM

MSL_FLOAT_3(fma, MSL_LIBM(fma)(x, y, z))
MSL_FLOAT_3(clamp, fmin(fmax(x, y), z))
MSL_FLOAT_3(mix, x + (y - x) * z)
MSL_FLOAT_3(smoothstep,
            saturate((z - x) / (y - x)) * saturate((z - x) / (y - x)) * (3 - 2 * saturate((z - x) / (y - x))))
MSL_FLOAT_3(fmax3, fmax(fmax(x, y), z))
MSL_FLOAT_3(fmin3, fmin(fmin(x, y), z))
MSL_FLOAT_3(fmedian3, fmax(fmin(x, y), fmin(fmax(x, y), z)))
MSL_FLOAT_3(max3, fmax3(x, y, z))
MSL_FLOAT_3(min3, fmin3(x, y, z))
MSL_FLOAT_3(median3, fmedian3(x, y, z))
MSL_FN inline float ldexp(float x, int k) { return MSL_LIBM(ldexp)(x, k); }
MSL_FN inline half ldexp(half x, int k) { return half(ldexp(float(x), k)); }
MSL_FN inline float frexp(float x, int& k) { return MSL_LIBM(frexp)(x, &k); }
MSL_FN inline float modf(float x, float& whole) {
  whole = trunc(x);
  return x - whole;
}
MSL_FN inline float sincos(float x, float& cosine) {
  cosine = cos(x);
  return sin(x);
}

// precise:: is the target's usual accuracy, and so is fast:: but for the functions in MSL_FAST.
namespace fast {
MSL_FLOAT_1(detail::same, exp, MSL_FAST(exp)(x))
MSL_FLOAT_1(detail::same, exp2, MSL_FAST(exp2)(x))
MSL_FLOAT_1(detail::same, log, MSL_FAST(log)(x))
MSL_FLOAT_1(detail::same, log2, MSL_FAST(log2)(x))
MSL_FLOAT_1(detail::same, rsqrt, MSL_FAST(rsqrt)(x))
MSL_FLOAT_2(divide, MSL_FAST(divide)(x, y))
}  // namespace fast
namespace precise {
using metal::divide, metal::exp, metal::exp2, metal::log, metal::log2, metal::rsqrt;
}
#define MSL_ACCURACY(name)                                                                                         \
  namespace name {                                                                                                 \
  using metal::abs, metal::acos, metal::acosh, metal::asin, metal::asinh, metal::atan, metal::atan2, metal::atanh; \
  using metal::ceil, metal::clamp, metal::copysign, metal::cos, metal::cosh, metal::cospi;                         \
  using metal::exp10, metal::fabs, metal::fdim, metal::floor, metal::fma, metal::fmax;                             \
  using metal::fmax3, metal::fmedian3, metal::fmin, metal::fmin3, metal::fmod, metal::fract, metal::frexp;         \
  using metal::isfinite, metal::isinf, metal::isnan, metal::isnormal, metal::ldexp, metal::log10;                  \
  using metal::max, metal::max3, metal::median3, metal::min, metal::min3, metal::mix, metal::modf;                 \
  using metal::nextafter, metal::pow, metal::powr, metal::rint, metal::round, metal::saturate;                     \
  using metal::sign, metal::signbit, metal::sin, metal::sincos, metal::sinh, metal::sinpi, metal::smoothstep;      \
  using metal::sqrt, metal::step, metal::tan, metal::tanh, metal::tanpi, metal::trunc;                             \
  }
MSL_ACCURACY(fast)
MSL_ACCURACY(precise)
#undef MSL_ACCURACY
}  // namespace metal
