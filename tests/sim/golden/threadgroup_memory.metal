#include <metal_stdlib>
using namespace metal;

kernel void reverse(device float* x [[buffer(0)]], uint i [[thread_position_in_threadgroup]]) {
  threadgroup float row[64], other[2][32];
  alignas(16) threadgroup vec<half, 4> tile[8];
  threadgroup float* end = row + 63;
  row[i] = x[i];
  other[0][i % 32] = 0;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  x[i] = end[-int(i)] + tile[0].x;
}
