// metal::is_same, metal::enable_if and the like, and the limits of the arithmetic types.
#pragma once
#include <type_traits>

namespace metal {
using std::conditional;
using std::conditional_t;
using std::decay_t;
using std::declval;
using std::enable_if;
using std::enable_if_t;
using std::false_type;
using std::integral_constant;
using std::is_const;
using std::is_const_v;
using std::is_convertible;
using std::is_convertible_v;
using std::is_enum;
using std::is_integral;
using std::is_integral_v;
using std::is_pointer;
using std::is_pointer_v;
using std::is_same;
using std::is_same_v;
using std::is_signed;
using std::is_signed_v;
using std::is_unsigned;
using std::is_unsigned_v;
using std::make_signed;
using std::make_signed_t;
using std::make_unsigned;
using std::make_unsigned_t;
using std::remove_cv;
using std::remove_cv_t;
using std::remove_pointer;
using std::remove_pointer_t;
using std::remove_reference;
using std::remove_reference_t;
using std::true_type;
template <bool B>
using bool_constant = std::integral_constant<bool, B>;
template <class... T>
using _disjunction = std::disjunction<T...>;
template <class... T>
using _conjunction = std::conjunction<T...>;
template <class T>
struct is_floating_point : bool_constant<is_same_v<remove_cv_t<T>, float> || is_same_v<remove_cv_t<T>, half> ||
                                         is_same_v<remove_cv_t<T>, bfloat>> {};
template <class T>
inline constexpr bool is_floating_point_v = is_floating_point<T>::value;
template <class T>
struct is_arithmetic : bool_constant<is_integral_v<T> || is_floating_point_v<T>> {};
template <class T>
inline constexpr bool is_arithmetic_v = is_arithmetic<T>::value;
template <class T>
struct remove_addrspace {
  using type = T;
};
#define MSL_FOR_SPACE(SPACE)         \
  template <class T>                 \
  struct remove_addrspace<SPACE T> { \
    using type = T;                  \
  };
MSL_FOR_SPACE(__global)
MSL_FOR_SPACE(__local)
MSL_FOR_SPACE(__constant)
MSL_FOR_SPACE(__private)
#undef MSL_FOR_SPACE

template <class T>
using remove_addrspace_t = typename remove_addrspace<T>::type;

}  // namespace metal

namespace metal {
template <class T>
struct numeric_limits {
  static constexpr T max() { return T(is_signed_v<T> ? (1ul << (8 * sizeof(T) - 1)) - 1 : ~0ul); }
  static constexpr T min() { return is_signed_v<T> ? T(-max() - 1) : T(0); }
  static constexpr T lowest() { return min(); }
};
#define MSL_LIMITS(T, MAX, MIN, EPS)                                 \
  template <>                                                        \
  struct numeric_limits<T> {                                         \
    static constexpr T max() { return T(MAX); }                      \
    static constexpr T lowest() { return T(-MAX); }                  \
    static constexpr T min() { return T(MIN); }                      \
    static constexpr T epsilon() { return T(EPS); }                  \
    static constexpr T infinity() { return T(__builtin_inff()); }    \
    static constexpr T quiet_NaN() { return T(__builtin_nanf("")); } \
  };
MSL_LIMITS(float, 3.402823466e+38f, 1.175494351e-38f, 1.192092896e-07f)
MSL_LIMITS(half, 65504.0f, 6.103515625e-05f, 9.765625e-04f)
MSL_LIMITS(bfloat, 3.3895313892515355e+38f, 1.175494351e-38f, 7.8125e-3f)
#undef MSL_LIMITS

}  // namespace metal
