#include "metal_agx.h"
using namespace metal;
struct Pair {
  float xy;
};
 void k(__local uchar* msl_pool, __global float4* x , __global Pair* pairs , uint i ) {
  float4 v = x[i].wzyx;
  v.rgb += msl_make<float3>((half(1.0f)), (half(2)), (bfloat(3.0f)));
  v.xw = msl_make<vec<float, 2>>(pairs[i].xy);
  metal::vec<float, 2> pair = v.zz;
#pragma unroll
  for (int j = 0; j < 4; j++) v[j] = pair.x;
  for (int j = 0; j < 4; j++) v[j] += 1e-3f;
  x[i] = v;
}  constexpr int msl_most_k = 384;
kernel __attribute__((reqd_work_group_size((MSL_THREADS(::msl_most_k) + 3) / 4, 4, 1))) void msl_k(__global uchar* b0, __global uchar* b1, uint gx, uint gy, uint gz, uint tx, uint ty, uint tz) { __local uint4 pool[2048]; static_cast<decltype(::k)*>(::k)((__local uchar*)pool, msl_device_pointer{b0}, msl_device_pointer{b1}, msl_position_in_grid(tx, ty, tz)); }
