#include "metal_sim.h"
using namespace metal;
struct Pair {
  float xy;
};
 void k( float4* x ,  Pair* pairs , uint i ) {
  float4 v = x[i].template sw<3,2,1,0>();
  v.template swr<0,1,2>() += float3((half(1.0f)), (half(2)), (bfloat(3.0f)));
  v.template swr<0,3>() = vec<float, 2>(pairs[i].xy);
  metal::vec<float, 2> pair = v.template sw<2,2>();
  for (int j = 0; j < 4; j++) v[j] = pair.x;
  for (int j = 0; j < 4; j++) v[j] += 1e-3f;
  x[i] = v;
} struct msl_p1_k { static const MslParam* get() { static const MslParam p[] = {{MslKind(0), 0, nullptr, "x"}, {MslKind(0), 1, nullptr, "pairs"}, {MslKind(2), 0, nullptr, "i"}}; return p; } };  msl_p1_k msl_d_k(float4 * x , Pair * pairs , uint i); static void msl_r2() { ::msl::register_kernel<&k, msl_p1_k>("k"); }
extern "C" void msl_register() { ::msl_r2(); }
