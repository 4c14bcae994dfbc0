// From a product q.k to the logit that the softmax sees: scale, softcap, mask and band, in the order of
// docs/semantics.md.
#pragma once

#include <metal_stdlib>

#include "sdpa_rows.h"

using namespace metal;

// An element of an operand whose type is known at run time, as a float.
inline float operand_at(device const uchar* operand, int type, long index) {
  switch (type) {
    case OPERAND_FLOAT:
      return ((device const float*)operand)[index];
    case OPERAND_HALF:
      return float(((device const half*)operand)[index]);
    case OPERAND_BFLOAT:
      return float(((device const bfloat*)operand)[index]);
    default:
      return operand[index] ? 0.0f : -INFINITY;  // bool: True attends
  }
}

// What is added to a key's score; minus infinity hides the key. `mask_row` is where the query's row of the mask begins.
inline float key_bias(constant SdpaParameters& parameters, device const uchar* mask, long mask_row, KeyRange visible,
                      int key) {
  if (key < visible.first || key >= visible.end) return -INFINITY;
  if (parameters.mask_type == OPERAND_ABSENT) return 0;
  return operand_at(mask, parameters.mask_type, mask_row + key * parameters.mask_strides[3]);
}

// tanh would do, but some implementations lose NaN or overflow far out.
inline float saturating_tanh(float x) { return abs(x) > 10.0f ? copysign(1.0f, x) : precise::tanh(x); }

inline float softcapped(float score, constant SdpaParameters& parameters) {
  return parameters.softcap > 0 ? parameters.softcap * saturating_tanh(score / parameters.softcap) : score;
}

// Minus infinity for a hidden key, whatever the score, and for no other.
inline float biased(float score, float bias) {
  if (bias == -INFINITY) return -INFINITY;
  score += bias;
  constexpr float lowest = numeric_limits<float>::lowest();
  return score < lowest ? lowest : score;  // max() would lose NaN
}

inline float logit(float product, constant SdpaParameters& parameters, float bias) {
  return biased(softcapped(product * parameters.scale, parameters), bias);
}
