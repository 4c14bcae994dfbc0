// y = gelu(gate) * up, rounded once. The halves are two arrays, or one that holds both along its last dimension.
// Shazeer 2020, https://arxiv.org/abs/2002.05202
//
// Geometry: see elementwise.h; up to 256 threads take a tile of 32 bytes each.
// Memory traffic per element: gate and up read once, y written once: 3 sizeof(T).

#include <metal_stdlib>

#include "elementwise.h"
#include "geglu_parameters.h"
#include "gelu_forms.h"

using namespace metal;

template <typename T, int width>
[[kernel, max_total_threads_per_threadgroup(256)]] void geglu(
    device const T* gate [[buffer(0)]], device const T* up [[buffer(1)]], device T* y [[buffer(2)]],
    constant GegluParameters& parameters [[buffer(3)]], uint2 threadgroup_position [[threadgroup_position_in_grid]],
    uint2 threadgroups [[threadgroups_per_grid]], uint2 thread_position [[thread_position_in_threadgroup]],
    uint2 threads [[threads_per_threadgroup]]) {
  const ElementwiseTile tile =
      elementwise_tile<T>(parameters.grid, threadgroup_position, threadgroups, thread_position, threads);
  const TileBits<T> gate_bits =
      load_tile<width>(gate + parameters.gate_start + tile_offset<width>(parameters.gate, tile),
                       parameters.gate.column_stride, tile.part);
  const TileBits<T> up_bits = load_tile<width>(up + parameters.up_start + tile_offset<width>(parameters.up, tile),
                                               parameters.up.column_stride, tile.part);
  float values[elements_per_thread<T>()], ups[elements_per_thread<T>()];
  unpack_tile(gate_bits, values);
  apply_gelu<T>(parameters.form, values);
  unpack_tile(up_bits, ups);
  for (int i = 0; i < elements_per_thread<T>(); ++i) values[i] *= ups[i];
  store_tile<width>(y + tile.row * parameters.grid.columns + tile.start, tile.part, pack_tile<T>(values));
}
