// Partial results of rows whose keys are split over several threadgroups, for sdpa_combine. For each row, as they come
// in logsumexp, and each split an array of float4:
//
//     (maximum, sum of the weights, 0, 0), then the sums of weight * value, padded to a multiple of four columns
//
// with weight = exp(logit - maximum). Those of a row's splits follow one another. Where the row sees none of a split's
// keys the sum is 0, and nothing else needs to be there.
#pragma once

#include <metal_stdlib>

#include "sdpa_partial_layout.h"
#include "sdpa_softmax.h"

using namespace metal;

constant constexpr int PARTIAL_CHUNK = SDPA_PARTIAL_CHUNK;

// In chunks.
inline int partial_size(constant SdpaParameters& parameters) {
  return 1 + (parameters.value_dim + PARTIAL_CHUNK - 1) / PARTIAL_CHUNK;
}

// In chunks, from the first row's first split.
inline long partial_offset(constant SdpaParameters& parameters, long row, int split) {
  return (row * parameters.splits + split) * partial_size(parameters);
}

inline void write_partial_softmax(device float4* partial, Softmax softmax) {
  partial[0] = float4(softmax.maximum, softmax.sum, 0, 0);
}
