// The softmax of a row over some of its keys, and over all of them.
#pragma once

#include <metal_stdlib>

#include "sdpa_scores.h"

using namespace metal;

// What is known of it: the largest logit so far and the sum of exp(logit - maximum).
struct Softmax {
  float maximum;
  float sum;
};

// By what sums relative to the maximum `from` are multiplied to be relative to `to`. Both may be minus infinity.
inline float rescaling(float from, float to) { return from == to ? 1.0f : fast::exp(from - to); }

inline Softmax merged(Softmax a, Softmax b) {
  const float maximum = max(a.maximum, b.maximum);
  return {maximum, a.sum * rescaling(a.maximum, maximum) + b.sum * rescaling(b.maximum, maximum)};
}

// What a row's weighted values are multiplied by, and its logsumexp.
struct Normaliser {
  float factor;
  float logsumexp;
};

// `softmax` is that over all keys; the sink joins it. `index` is the row's in logsumexp.
inline Normaliser normaliser(constant SdpaParameters& parameters, device const uchar* sinks, long index,
                             Softmax softmax) {
  if (softmax.sum == 0) return {0, -INFINITY};  // it saw nothing, and a sink alone counts for nothing
  Softmax total = softmax;
  if (parameters.sinks_type != OPERAND_ABSENT) {
    const long head = index / parameters.query_length;  // of all batches
    constant int64_t* strides = parameters.sinks_strides;
    const long sink = head / parameters.query_heads * strides[0] + head % parameters.query_heads * strides[1];
    total = merged(softmax, {operand_at(sinks, parameters.sinks_type, sink), 1});
  }
  return {rescaling(softmax.maximum, total.maximum) / total.sum, total.maximum + precise::log(total.sum)};
}
