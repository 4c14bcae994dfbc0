// <metal_type_traits>: std's, with half and bfloat among the floating-point types.
#pragma once

namespace metal {
using std::conditional;
using std::conditional_t;
using std::decay;
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
using std::is_enum_v;
using std::is_integral;
using std::is_integral_v;
using std::is_pointer;
using std::is_pointer_v;
using std::is_reference;
using std::is_same;
using std::is_same_v;
using std::is_signed;
using std::is_signed_v;
using std::is_unsigned;
using std::is_unsigned_v;
using std::is_void;
using std::make_signed;
using std::make_signed_t;
using std::make_unsigned;
using std::make_unsigned_t;
using std::remove_const;
using std::remove_const_t;
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
using remove_addrspace_t = T;

namespace detail {
template <class T, class... U>
inline constexpr bool is_one_of = (is_same_v<T, U> || ...);

template <class T>
struct identity {
  using type = T;
};
// A parameter of this type takes no part in template argument deduction, so that it accepts implicit conversions.
template <class T>
using identity_t = typename identity<T>::type;
}  // namespace detail

template <class T>
struct is_floating_point : bool_constant<detail::is_one_of<remove_cv_t<T>, float, half, bfloat>> {};
template <class T>
inline constexpr bool is_floating_point_v = is_floating_point<T>::value;
template <class T>
struct is_arithmetic : bool_constant<is_integral_v<T> || is_floating_point_v<T>> {};
template <class T>
inline constexpr bool is_arithmetic_v = is_arithmetic<T>::value;
}  // namespace metal
