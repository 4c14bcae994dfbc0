// y = x * rsqrt(mean(x^2) + eps) * (weight + weight_offset) over the rows of x; with a residual, x + residual takes x's
// place and is written as well, in the residual's type Sum: T, or float. Zhang & Sennrich 2019,
// https://arxiv.org/abs/1910.07467
//
// Geometry: threads_per_threadgroup is (threads of a row, rows). A row's threads are a power of two within one
// SIMD-group, or a multiple of 32. Threadgroups are numbered along x first, then y. With 16-bit elements, for example:
//
//   columns    64     4 threads a row, 64 rows a threadgroup; a SIMD-group sums eight rows, no barrier is needed
//   columns  1024    64 threads a row, 4 rows a threadgroup; one barrier
//   columns  4096   256 threads a row
//   beyond  16384   1024 threads loop over the tiles of a row
//
// Memory traffic per element: x (and the residual) read once, y (and the sum) written once, the weight from cache:
// 2 sizeof(T), and with a residual 2 sizeof(Sum) more. Of a row of several tiles all but the last are read again, from
// cache if it holds them.

#include <metal_stdlib>

#include "rms_norm_parameters.h"
#include "row_tiles.h"

using namespace metal;

// The sum over the 2^n neighbouring lanes that a lane belongs to, in each of them.
inline float sum_of_lanes(float value, uint lanes) {
  for (uint distance = 1; distance < lanes; distance *= 2) value += simd_shuffle_xor(value, ushort(distance));
  return value;
}

// The sum over the threads of a row, in each of them. `partial` has an element for every SIMD-group.
inline float sum_of_row(float value, uint threads, uint row_in_threadgroup, uint lane, uint simdgroup,
                        threadgroup float* partial) {
  if (threads < 32) return sum_of_lanes(value, threads);
  value = simd_sum(value);
  if (threads == 32) return value;
  if (lane == 0) partial[simdgroup] = value;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  const uint simdgroups = threads / 32;
  return simd_sum(lane < simdgroups ? partial[row_in_threadgroup * simdgroups + lane] : 0.0f);
}

// A thread's part of what is normalised: of x, or of x + residual, which is written.
template <int width, typename T, typename Sum>
inline TileBits<T, Sum> load_normalized(device const T* x, device const Sum* residual, device Sum* sum, TilePart part,
                                        constant RmsNormParameters& parameters) {
  const TileBits<T> bits = load_tile<width>(x, parameters.x.column_stride, part);
  if constexpr (sizeof(Sum) == sizeof(T)) {
    if (!parameters.has_residual) return bits;
  }
  const TileBits<T, Sum> residual_bits = load_elements<width, T>(residual, parameters.residual.column_stride, part);
  float values[elements_per_thread<T>()], others[elements_per_thread<T>()];
  unpack_tile(bits, values);
  unpack_tile(residual_bits, others);
  for (int i = 0; i < elements_per_thread<T>(); ++i) values[i] += others[i];
  const TileBits<T, Sum> sums = pack_tile<T, Sum>(values);
  store_tile<width>(sum, part, sums);
  return sums;
}

// The same of a tile that was read before.
template <int width, typename T, typename Sum>
inline TileBits<T, Sum> reload_normalized(device const T* x, device const Sum* sum, TilePart part,
                                          constant RmsNormParameters& parameters) {
  if constexpr (sizeof(Sum) == sizeof(T)) {
    if (!parameters.has_residual) return load_tile<width>(x, parameters.x.column_stride, part);
  }
  return load_elements<width, T>(sum, 1, part);
}

template <typename T, typename Sum>
inline float sum_of_squares(TileBits<T, Sum> bits) {
  float values[elements_per_thread<T>()];
  unpack_tile(bits, values);
  float sum = 0;
  for (int i = 0; i < elements_per_thread<T>(); ++i) sum = fma(values[i], values[i], sum);
  return sum;
}

// The weight of the columns from `start` on, with its offset.
template <int width, typename T>
inline void load_scales(device const uchar* weight, long start, TilePart part, constant RmsNormParameters& parameters,
                        thread float* scales) {
  for (int i = 0; i < elements_per_thread<T>(); ++i) scales[i] = 1;
  load_operand_values<width, T>(weight, parameters.weight_type, start, parameters.weight_stride, part, scales);
  for (int i = 0; i < elements_per_thread<T>(); ++i) scales[i] += parameters.weight_offset;
}

template <int width, typename T, typename Sum>
inline void store_scaled(TileBits<T, Sum> bits, float reciprocal_rms, thread const float* scales, device T* y,
                         TilePart part) {
  float values[elements_per_thread<T>()];
  unpack_tile(bits, values);
  for (int i = 0; i < elements_per_thread<T>(); ++i) values[i] = values[i] * reciprocal_rms * scales[i];
  store_tile<width>(y, part, pack_tile<T>(values));
}

template <typename T, typename Sum, int width>
[[kernel, max_total_threads_per_threadgroup(1024)]] void rms_norm(
    device const T* x [[buffer(0)]], device const uchar* weight [[buffer(1)]], device const Sum* residual [[buffer(2)]],
    device T* y [[buffer(3)]], device Sum* sum [[buffer(4)]], device float* reciprocal_rms [[buffer(5)]],
    constant RmsNormParameters& parameters [[buffer(6)]], uint2 threadgroup_position [[threadgroup_position_in_grid]],
    uint2 threadgroups [[threadgroups_per_grid]], uint2 thread_position [[thread_position_in_threadgroup]],
    uint2 threads [[threads_per_threadgroup]], uint lane [[thread_index_in_simdgroup]],
    uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float partial[32];

  const long block = long(threadgroup_position.y) * threadgroups.x + threadgroup_position.x;
  const long row = block * threads.y + thread_position.y;
  const bool is_row = row < parameters.rows;
  const long columns = is_row ? parameters.columns : 0;  // threads beyond the last row only take part in the barrier
  x += row_offset(parameters.x, row);
  residual += row_offset(parameters.residual, row);
  y += row * parameters.columns;
  sum += row * parameters.columns;

  const long x_stride = known_stride<width>(parameters.x.column_stride);
  const long residual_stride = known_stride<width>(parameters.residual.column_stride);
  const long tile_size = tile_columns<T>(threads.x);
  const long last_tile = (parameters.tiles_per_row - 1) * tile_size;
  TilePart part = {thread_position.x, threads.x, 0};
  TileBits<T, Sum> bits;
  float squares = 0;
  for (long start = 0; start <= last_tile; start += tile_size) {
    part.columns = columns_in_tile<T>(columns - start, threads.x);
    bits =
        load_normalized<width>(x + start * x_stride, residual + start * residual_stride, sum + start, part, parameters);
    if (start < last_tile) squares += sum_of_squares(bits);
  }
  // Asked for while x is still on its way.
  float scales[elements_per_thread<T>()];
  load_scales<width, T>(weight, last_tile, part, parameters, scales);
  squares = sum_of_row(squares + sum_of_squares(bits), threads.x, thread_position.y, lane, simdgroup, partial);
  const float factor = precise::rsqrt(fma(squares, parameters.reciprocal_columns, parameters.eps));
  if (parameters.with_reciprocal_rms && is_row && thread_position.x == 0) reciprocal_rms[row] = factor;

  // Backwards: the last tile is still in registers, and those right before it are the likeliest to be in cache.
  store_scaled<width>(bits, factor, scales, y + last_tile, part);
  for (long start = last_tile - tile_size; start >= 0; start -= tile_size) {
    part.columns = columns_in_tile<T>(columns - start, threads.x);
    bits = reload_normalized<width>(x + start * x_stride, (device const Sum*)sum + start, part, parameters);
    load_scales<width, T>(weight, start, part, parameters, scales);
    store_scaled<width>(bits, factor, scales, y + start, part);
  }
}
