#include "metal_cuda.h"
namespace mtl {
using namespace metal;
struct Pair {
  float xy;
};
__device__  void k( float4* x ,  Pair* pairs , uint i ) {
  float4 v = x[i].template sw<3,2,1,0>();
  v.template swr<0,1,2>() += float3((half(1.0f)), (half(2)), (bfloat(3.0f)));
  v.template swr<0,3>() = vec<float, 2>(pairs[i].xy);
  metal::vec<float, 2> pair = v.template sw<2,2>();
#pragma unroll
  for (int j = 0; j < 4; j++) v[j] = pair.x;
  for (int j = 0; j < 4; j++) v[j] += 1e-3f;
  x[i] = v;
} template <int threads> struct msl_p1_k { static constexpr int most_threads = threads; static constexpr int kind(int i) { constexpr int v[] = {0, 0, 2}; return v[i]; } static constexpr int index(int i) { constexpr int v[] = {0, 1, 0}; return v[i]; } };  msl_p1_k<int(1024)> msl_d_k(float4 * x , Pair * pairs , uint i);
extern "C" __global__ void __launch_bounds__(msl_p1_k<int(1024)>::most_threads) msl_k(MslArgs a) { msl::launch<msl_p1_k<int(1024)>, &k>(&k, a); }
}  // namespace mtl
