#include "metal_cuda.h"
namespace mtl {
using namespace metal;
namespace ops {
template <typename T, int N>
__device__  void scale( T* x , uint i ) {
  x[i] *= T(N);
} template <int threads> struct msl_p1_scale { static constexpr int most_threads = threads; static constexpr int kind(int i) { constexpr int v[] = {0, 2}; return v[i]; } static constexpr int index(int i) { constexpr int v[] = {0, 0}; return v[i]; } }; template < typename T , int N > msl_p1_scale<int(1024)> msl_d_scale(T * x , uint i);
}
template <typename T>
__device__  void negate( T* x , uint i ) {
  x[i] = -x[i];
} template <int threads> struct msl_p2_negate { static constexpr int most_threads = threads; static constexpr int kind(int i) { constexpr int v[] = {0, 2}; return v[i]; } static constexpr int index(int i) { constexpr int v[] = {0, 0}; return v[i]; } }; template < typename T > msl_p2_negate<int(1024)> msl_d_negate(T * x , uint i);
extern "C" __global__ void __launch_bounds__(::mtl::msl::result_t<&ops :: msl_d_scale < half , 4 >>::most_threads) msl_scale_half(MslArgs a) { msl::launch<::mtl::msl::result_t<&ops :: msl_d_scale < half , 4 >>, &ops :: scale < half , 4 >>(&ops :: scale < half , 4 >, a); }
extern "C" __global__ void __launch_bounds__(::mtl::msl::result_t<&ops :: msl_d_scale < float , 4 >>::most_threads) msl_scale_float(MslArgs a) { msl::launch<::mtl::msl::result_t<&ops :: msl_d_scale < float , 4 >>, &ops :: scale < float , 4 >>(&ops :: scale < float , 4 >, a); }
extern "C" __global__ void __launch_bounds__(::mtl::msl::result_t<& msl_d_negate < int >>::most_threads) msl_negate_int(MslArgs a) { msl::launch<::mtl::msl::result_t<& msl_d_negate < int >>, &negate < int >>(&negate < int >, a); }
extern "C" __global__ void __launch_bounds__(decltype(msl_d_negate(::mtl::msl::arg<void(uint * x)>(), ::mtl::msl::arg<void(uint i)>()))::most_threads) msl_negate_uint(MslArgs a) { msl::launch<decltype(msl_d_negate(::mtl::msl::arg<void(uint * x)>(), ::mtl::msl::arg<void(uint i)>())), static_cast<void (*)(uint * x, uint i)>(negate)>(static_cast<void (*)(uint * x, uint i)>(negate), a); }
}  // namespace mtl
