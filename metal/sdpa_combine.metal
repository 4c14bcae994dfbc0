// Adds up the partial results of a row, which the prefill and decode kernels leave for each split of the keys
// (sdpa_partials.h).
//
// Geometry: threadgroups: x = row of logsumexp, y = block of 128 columns; 8 SIMD-groups take the splits in turn, 4
// columns a lane. Memory: every partial result once.
#include <metal_stdlib>

#include "sdpa_results.h"

using namespace metal;

constant constexpr int SIMDGROUPS = SDPA_COMBINE_SIMDGROUPS;

template <typename T, bool PACKED>
[[kernel, max_total_threads_per_threadgroup(SIMDGROUPS * 32)]] void sdpa_combine(
    device const float4* partials [[buffer(0)]], device const uchar* sinks [[buffer(1)]], device T* out [[buffer(2)]],
    device float* logsumexp [[buffer(3)]], constant SdpaParameters& parameters [[buffer(4)]],
    uint3 position [[threadgroup_position_in_grid]], ushort lane [[thread_index_in_simdgroup]],
    ushort simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float4 simdgroup_sums[SIMDGROUPS * 32];
  const int index = position.x, column = (position.y * 32 + lane) * PARTIAL_CHUNK;
  partials += partial_offset(parameters, index, 0);
  const int size = partial_size(parameters);

  Softmax softmax = {-INFINITY, 0};
  for (int split = lane; split < parameters.splits; split += 32) {
    const float4 part = partials[split * size];
    softmax = merged(softmax, {part.x, part.y});
  }
  const float maximum = simd_max(softmax.maximum);
  softmax = {maximum, simd_sum(softmax.sum * rescaling(softmax.maximum, maximum))};

  float4 sum = 0;
  if (column < parameters.value_dim)
    for (int split = simdgroup; split < parameters.splits; split += SIMDGROUPS) {
      const float4 part = partials[split * size];
      if (part.y != 0) sum += partials[split * size + 1 + column / PARTIAL_CHUNK] * rescaling(part.x, maximum);
    }
  if (simdgroup != 0) simdgroup_sums[simdgroup * 32 + lane] = sum;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  if (simdgroup != 0) return;
  for (int i = 1; i < SIMDGROUPS; ++i) sum += simdgroup_sums[i * 32 + lane];
  const Normaliser row_normaliser = normaliser(parameters, sinks, index, softmax);
  if (column == 0) write_logsumexp(logsumexp, parameters, index, row_normaliser);
  write_values<T, PACKED>(out, parameters, index, row_normaliser, sum, column);
}
