#include "metal_cuda.h"
namespace mtl {
using namespace metal;
__device__  void reverse( float* x , uint i ) {
  __shared__ float row[64], other[2][32];
  alignas(16) __shared__ vec<half, 4> tile[8];
   float* end = row + 63;
  row[i] = x[i];
  other[0][i % 32] = 0;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  x[i] = end[-int(i)] + tile[0].x;
} template <int threads> struct msl_p1_reverse { static constexpr int most_threads = threads; static constexpr int kind(int i) { constexpr int v[] = {0, 3}; return v[i]; } static constexpr int index(int i) { constexpr int v[] = {0, 0}; return v[i]; } };  msl_p1_reverse<int(1024)> msl_d_reverse(float * x , uint i);
extern "C" __global__ void __launch_bounds__(msl_p1_reverse<int(1024)>::most_threads) msl_reverse(MslArgs a) { msl::launch<msl_p1_reverse<int(1024)>, &reverse>(&reverse, a); }
}  // namespace mtl
