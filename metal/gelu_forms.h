// GELU in float32, in three forms, for results that are rounded to T. Hendrycks & Gimpel 2016,
// https://arxiv.org/abs/1606.08415
//
// No branches: the elements of a thread are computed side by side. Minus infinity gives zero, NaN stays NaN; min and
// max would lose it, comparisons do not. precise:: stands where float32 results hang on the error bound, fast:: where
// the looser one is enough.
#pragma once

#include <metal_stdlib>

#include "gelu_form.h"
#include "row_tiles.h"

using namespace metal;

// The relative error of fast::exp grows with the exponent, up to 2e-5: much for float32, nothing for 16 bits.
template <typename T>
inline float exponential(float x) {
  return sizeof(T) == 2 ? fast::exp(x) : precise::exp(x);
}

// Metal has no erf. Phi(-a) = e^(-a^2/2) t p(t), t = 1 / (1 + 0.35 a), is accurate in the tail too, where 1 + erf
// cancels. p is a minimax fit of this project with a relative error of 3.2e-8 for a <= 14.5, the CPU's as well
// (csrc/cpu/kernels).
template <typename T>
inline float normal_tail(float a) {
  const float t = fast::divide(1.0f, fma(a, 0.35f, 1.0f));
  float p = -2.9157897e-2f;
  p = fma(p, t, 0.14403097f);
  p = fma(p, t, -0.2558391f);
  p = fma(p, t, 0.15931982f);
  p = fma(p, t, -2.3212435e-2f);
  p = fma(p, t, 0.10555253f);
  p = fma(p, t, 0.11982128f);
  p = fma(p, t, 0.13986352f);
  p = fma(p, t, 0.1396213f);
  const float square = a * a;
  const float tail = exponential<T>(-0.5f * square) * t * p;
  if constexpr (sizeof(T) == 2) return tail;
  // What rounding takes from a^2 matters: a^2 is up to 225. It is so little that e^r is 1 + r.
  return tail * fma(-0.5f, fma(a, a, -square), 1.0f);
}

// x Phi(x) = max(x, 0) - |x| Phi(-|x|), without cancellation on either side of 0.
template <typename T>
inline float gelu_none(float x) {
  const float a = min(abs(x), 15.0f);  // float32's Phi(-15) is 0
  return fma(-a, normal_tail<T>(a), x < 0.0f ? 0.0f : x);
}

// x sigmoid(-z). e^88 is near float32's largest number; x is held where the product with 0 is not NaN.
template <typename T>
inline float times_sigmoid_of_minus(float x, float z) {
  const float gate = fast::divide(1.0f, 1.0f + exponential<T>(min(z, 87.0f)));
  return (x < -1e4f ? -1e4f : x) * (z < 87.0f ? gate : 0.0f);
}

// 0.5 (1 + tanh(u)) is sigmoid(2u), which neither overflows nor cancels.
template <typename T>
inline float gelu_tanh(float x) {
  constexpr float two_sqrt_2_over_pi = 1.5957691216f;
  return times_sigmoid_of_minus<T>(x, x * fma(x * x, -0.044715f * two_sqrt_2_over_pi, -two_sqrt_2_over_pi));
}

template <typename T>
inline float gelu_sigmoid(float x) {
  return times_sigmoid_of_minus<T>(x, -1.702f * x);
}

template <int form, typename T>
inline void apply_form(thread float* values) {
  for (int i = 0; i < elements_per_thread<T>(); ++i) {
    if constexpr (form == GELU_NONE) values[i] = gelu_none<T>(values[i]);
    if constexpr (form == GELU_TANH) values[i] = gelu_tanh<T>(values[i]);
    if constexpr (form == GELU_SIGMOID) values[i] = gelu_sigmoid<T>(values[i]);
  }
}

// The form is the same for all threads: one branch for all elements.
template <typename T>
inline void apply_gelu(int form, thread float* values) {
  switch (form) {
    case GELU_NONE:
      return apply_form<GELU_NONE, T>(values);
    case GELU_TANH:
      return apply_form<GELU_TANH, T>(values);
    case GELU_SIGMOID:
      return apply_form<GELU_SIGMOID, T>(values);
  }
}
