#include <metal_stdlib>
using namespace metal;

struct Pair {
  float xy;
};

kernel void k(device float4* x [[buffer(0)]], device Pair* pairs [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  float4 v = x[i].wzyx;
  v.rgb += float3(1.0h, 2h, 3.0bf);
  v.xw = vec<float, 2>(pairs[i].xy);
  metal::vec<float, 2> pair = v.zz;
#pragma clang loop unroll(full)
  for (int j = 0; j < 4; j++) v[j] = pair.x;
#pragma clang loop unroll(disable)
  for (int j = 0; j < 4; j++) v[j] += 1e-3f;
  x[i] = v;
}
