#include "metal_opencl.h"
using namespace metal;
struct Pair {
  float xy;
};
 void k(__global float4* x , __global Pair* pairs , uint i ) {
  float4 v = x[i].wzyx;
  v.rgb += msl_make<float3>((half(1.0f)), (half(2)), (bfloat(3.0f)));
  v.xw = msl_make<vec<float, 2>>(pairs[i].xy);
  metal::vec<float, 2> pair = v.zz;
  for (int j = 0; j < 4; j++) v[j] = pair.x;
  for (int j = 0; j < 4; j++) v[j] += 1e-3f;
  x[i] = v;
}
