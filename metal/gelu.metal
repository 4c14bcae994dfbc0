// y = gelu(x + bias), the bias along the last dimension. Hendrycks & Gimpel 2016, https://arxiv.org/abs/1606.08415
//
// Geometry: see elementwise.h; up to 256 threads take a tile of 32 bytes each.
// Memory traffic per element: x read once, y written once, the bias from cache: 2 sizeof(T).

#include <metal_stdlib>

#include "elementwise.h"
#include "gelu_forms.h"
#include "gelu_parameters.h"

using namespace metal;

template <typename T, int width>
[[kernel, max_total_threads_per_threadgroup(256)]] void gelu(
    device const T* x [[buffer(0)]], device const uchar* bias [[buffer(1)]], device T* y [[buffer(2)]],
    constant GeluParameters& parameters [[buffer(3)]], uint2 threadgroup_position [[threadgroup_position_in_grid]],
    uint2 threadgroups [[threadgroups_per_grid]], uint2 thread_position [[thread_position_in_threadgroup]],
    uint2 threads [[threads_per_threadgroup]]) {
  const ElementwiseTile tile =
      elementwise_tile<T>(parameters.grid, threadgroup_position, threadgroups, thread_position, threads);
  const TileBits<T> bits =
      load_tile<width>(x + tile_offset<width>(parameters.x, tile), parameters.x.column_stride, tile.part);
  float values[elements_per_thread<T>()];
  if (parameters.bias_type == OPERAND_ABSENT) {
    unpack_tile(bits, values);
  } else {
    float biases[elements_per_thread<T>()];
    load_operand_values<width, T>(bias, parameters.bias_type, tile.start, parameters.bias_stride, tile.part, biases);
    unpack_tile(bits, values);
    for (int i = 0; i < elements_per_thread<T>(); ++i) values[i] += biases[i];
  }
  apply_gelu<T>(parameters.form, values);
  store_tile<width>(y + tile.row * parameters.grid.columns + tile.start, tile.part, pack_tile<T>(values));
}
