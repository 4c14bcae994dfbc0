// What the decode kernels share: softmaxes over a part of the keys, the rows that they belong to, and what becomes of
// them.
#pragma once

#include <metal_stdlib>

#include "sdpa_partials.h"
#include "sdpa_scores.h"

using namespace metal;

// What is known of a row's softmax: the largest logit so far and the sum of exp(logit - maximum).
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

// A query of a query head, and where it lies.
struct QueryRow {
  int index;  // in out and logsumexp
  KeyRange keys;
  long q_offset;
  long mask_offset;
};

// Rows of the same KV head are numbered query by query, so that neighbours see much the same keys.
inline QueryRow query_row(constant SdpaParameters& parameters, int batch, int kv_head, int row) {
  const int query = row / parameters.group_size, head = kv_head * parameters.group_size + row % parameters.group_size;
  constant int64_t* q = parameters.q_strides;
  constant int64_t* mask = parameters.mask_strides;
  return {(batch * parameters.query_heads + head) * parameters.query_length + query, visible_keys(parameters, query),
          batch * q[0] + head * q[1] + query * q[2], batch * mask[0] + head * mask[1] + query * mask[2]};
}

// ---- Results of a row

// What a row's weighted values are multiplied by, and its logsumexp.
struct Normaliser {
  float factor;
  float logsumexp;
};

// `softmax` is that over all keys. The sink joins it.
inline Normaliser normaliser(constant SdpaParameters& parameters, device const uchar* sinks, int index,
                             Softmax softmax) {
  if (softmax.maximum == -INFINITY && softmax.sum == 0) return {0, -INFINITY};  // saw nothing; NaN has a sum
  Softmax total = softmax;
  if (parameters.sinks_type != OPERAND_ABSENT) {
    const int head = index / parameters.query_length % parameters.query_heads;
    const int batch = index / parameters.query_length / parameters.query_heads;
    const long sink = batch * parameters.sinks_strides[0] + head * parameters.sinks_strides[1];
    total = merged(softmax, {operand_at(sinks, parameters.sinks_type, sink), 1});
  }
  return {rescaling(softmax.maximum, total.maximum) / total.sum, total.maximum + precise::log(total.sum)};
}

inline void write_logsumexp(device float* logsumexp, constant SdpaParameters& parameters, int index,
                            Normaliser normaliser) {
  if (parameters.with_logsumexp) logsumexp[index] = normaliser.logsumexp;
}

// Four columns of out, as far as there are so many.
template <typename T>
inline void write_values(device T* out, constant SdpaParameters& parameters, int index, Normaliser normaliser,
                         float4 sum, int first_column) {
  out += long(index) * parameters.value_dim + first_column;
  for (int i = 0; i < 4; ++i)
    if (first_column + i < parameters.value_dim) out[i] = T(sum[i] * normaliser.factor);
}

// ---- Partial results

inline void write_partial_softmax(device float4* partial, Softmax softmax) {
  partial[0] = float4(softmax.maximum, softmax.sum, 0, 0);
}

inline void write_partial_values(device float4* partial, constant SdpaParameters& parameters, float4 sum,
                                 int first_column) {
  if (first_column < parameters.value_dim) partial[1 + first_column / PARTIAL_CHUNK] = sum;
}
