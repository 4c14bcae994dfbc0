#include <metal_stdlib>
using namespace metal;

constant bool has_bias [[function_constant(1)]];

kernel void add_bias(device const float* x [[buffer(0)]], constant float* bias [[buffer(3), function_constant(has_bias)]],
                     device float* out, threadgroup float* scratch [[threadgroup(0)]],
                     uint2 position [[thread_position_in_grid]], ushort lane [[thread_index_in_simdgroup]]) {
  out[position.x] = x[position.x] + (has_bias ? bias[lane] : 0);
}
