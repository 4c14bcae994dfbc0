#include "metal_cuda.h"
namespace mtl {
using namespace metal;
__constant__ bool has_bias; __constant__ bool has_bias__defined;
__device__  void add_bias( const float* x , const float* bias  ,
                      float* out,  float* scratch ,
                     uint2 position , ushort lane ) {
  out[position.x] = x[position.x] + (has_bias ? bias[lane] : 0);
} template <int threads> struct msl_p1_add_bias { static constexpr int most_threads = threads; static constexpr int kind(int i) { constexpr int v[] = {0, 0, 0, 1, 2, 9}; return v[i]; } static constexpr int index(int i) { constexpr int v[] = {0, 3, 4, 0, 0, 0}; return v[i]; } };  msl_p1_add_bias<int(1024)> msl_d_add_bias(const float * x , const float * bias , float * out , float * scratch , uint2 position , ushort lane);
extern "C" __global__ void __launch_bounds__(msl_p1_add_bias<int(1024)>::most_threads) msl_add_bias(MslArgs a) { msl::launch<msl_p1_add_bias<int(1024)>, &add_bias>(&add_bias, a); }
}  // namespace mtl
