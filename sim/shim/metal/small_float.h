// Operators of a 16-bit float that is a class: each converts to float, computes, and rounds to the type. With a float
// operand the result is a float, as in Metal.
#pragma once

#define MSL_SMALL_FLOAT(H)                                   \
  MSL_SMALL_FLOAT_ARITHMETIC(H, +)                           \
  MSL_SMALL_FLOAT_ARITHMETIC(H, -)                           \
  MSL_SMALL_FLOAT_ARITHMETIC(H, *)                           \
  MSL_SMALL_FLOAT_ARITHMETIC(H, /)                           \
  MSL_SMALL_FLOAT_COMPARISON(H, ==)                          \
  MSL_SMALL_FLOAT_COMPARISON(H, !=)                          \
  MSL_SMALL_FLOAT_COMPARISON(H, <)                           \
  MSL_SMALL_FLOAT_COMPARISON(H, >)                           \
  MSL_SMALL_FLOAT_COMPARISON(H, <=)                          \
  MSL_SMALL_FLOAT_COMPARISON(H, >=)                          \
  MSL_FN constexpr H operator-(H a) { return H(-float(a)); } \
  MSL_FN constexpr H operator+(H a) { return a; }

#define MSL_SMALL_FLOAT_ARITHMETIC(H, op)                                               \
  MSL_FN constexpr H operator op(H a, H b) { return H(float(a) op float(b)); }          \
  template <class I, class = std::enable_if_t<std::is_integral<I>::value>>              \
  MSL_FN constexpr H operator op(H a, I b) {                                            \
    return H(float(a) op float(b));                                                     \
  }                                                                                     \
  template <class I, class = std::enable_if_t<std::is_integral<I>::value>>              \
  MSL_FN constexpr H operator op(I a, H b) {                                            \
    return H(float(a) op float(b));                                                     \
  }                                                                                     \
  MSL_FN constexpr float operator op(H a, float b) { return float(a) op b; }            \
  MSL_FN constexpr float operator op(float a, H b) { return a op float(b); }            \
  MSL_FN constexpr float& operator op## = (float& a, H b) { return a = a op float(b); } \
  template <class T>                                                                    \
  MSL_FN constexpr H& operator op## = (H & a, T b) {                                    \
    return a = H(a op b);                                                               \
  }

#define MSL_SMALL_FLOAT_COMPARISON(H, op)                                      \
  MSL_FN constexpr bool operator op(H a, H b) { return float(a) op float(b); } \
  MSL_FN constexpr bool operator op(H a, float b) { return float(a) op b; }    \
  MSL_FN constexpr bool operator op(float a, H b) { return a op float(b); }    \
  template <class I, class = std::enable_if_t<std::is_integral<I>::value>>     \
  MSL_FN constexpr bool operator op(H a, I b) {                                \
    return float(a) op float(b);                                               \
  }
