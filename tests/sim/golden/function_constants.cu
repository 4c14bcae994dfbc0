#include "metal_cuda.h"
namespace mtl {
using namespace metal;
__constant__ uint window_length; __constant__ bool window_length__defined;
__constant__ bool has_window; __constant__ bool has_window__defined;
__device__ inline uint window__value() { return has_window ? window_length : 0; }
__device__ inline bool is_short__value() { return window__value() < 10; }
const float plain = 2;
__constant__ const float table[2] = {0.5f, 1.5f};
__device__  void k( float* x , uint i ) {
  if (is_short__value() && is_function_constant_defined(window_length)) x[i] = window__value() * plain + table[i & 1];
} template <int threads> struct msl_p1_k { static constexpr int most_threads = threads; static constexpr int kind(int i) { constexpr int v[] = {0, 2}; return v[i]; } static constexpr int index(int i) { constexpr int v[] = {0, 0}; return v[i]; } };  msl_p1_k<int(1024)> msl_d_k(float * x , uint i);
extern "C" __global__ void __launch_bounds__(msl_p1_k<int(1024)>::most_threads) msl_k(MslArgs a) { msl::launch<msl_p1_k<int(1024)>, &k>(&k, a); }
}  // namespace mtl
