// What the attention kernels leave in out and logsumexp, or in partial results.
#pragma once

#include <metal_stdlib>

#include "sdpa_packing.h"
#include "sdpa_partials.h"

using namespace metal;

inline void write_logsumexp(device float* logsumexp, constant SdpaParameters& parameters, long index,
                            Normaliser normaliser) {
  if (parameters.with_logsumexp) logsumexp[index] = normaliser.logsumexp;
}

// Four columns, as far as there are so many.
template <typename T, bool PACKED>
inline void write_values(device T* out, constant SdpaParameters& parameters, long index, Normaliser normaliser,
                         float4 sum, int first_column) {
  out += output_row<PACKED>(parameters, index) * parameters.value_dim + first_column;
  for (int i = 0; i < 4; ++i)
    if (first_column + i < parameters.value_dim) out[i] = T(sum[i] * normaliser.factor);
}

// Of a split in which the row's softmax is `softmax`.
inline void write_partial(device float4* partial, constant SdpaParameters& parameters, Softmax softmax, float4 sum,
                          int first_column) {
  if (first_column == 0) write_partial_softmax(partial, softmax);
  if (softmax.sum != 0 && first_column < parameters.value_dim) partial[1 + first_column / PARTIAL_CHUNK] = sum;
}

// One of all threads of a launch.
struct LaunchThread {
  long index;
  long count;
};

inline LaunchThread launch_thread(uint3 group, uint3 groups, uint thread_index, uint threads) {
  const long group_index = (long(group.z) * groups.y + group.y) * groups.x + group.x;
  return {group_index * threads + thread_index, long(groups.x) * groups.y * groups.z * threads};
}

template <typename T>
inline void fill_with_nan(device T* data, long count, LaunchThread own) {
  for (long i = own.index; i < count; i += own.count) data[i] = T(NAN);
}

// Everything that the launch of a single batch would write.
template <typename T>
inline void write_nan(device T* out, device float* logsumexp, device float4* partials,
                      constant SdpaParameters& parameters, LaunchThread own) {
  const long rows = long(parameters.query_heads) * parameters.query_length;
  if (parameters.splits > 1) {
    fill_with_nan((device float*)partials, partial_offset(parameters, rows, 0) * PARTIAL_CHUNK, own);
    return;
  }
  fill_with_nan(out, rows * parameters.value_dim, own);
  if (parameters.with_logsumexp) fill_with_nan(logsumexp, rows, own);
}
