#include "metal_sim.h"
using namespace metal;
namespace ops {
template <typename T, int N>
 void scale( T* x , uint i ) {
  x[i] *= T(N);
} struct msl_p1_scale { static const MslParam* get() { static const MslParam p[] = {{MslKind(0), 0, nullptr, "x"}, {MslKind(2), 0, nullptr, "i"}}; return p; } }; template < typename T , int N > msl_p1_scale msl_d_scale(T * x , uint i);
}
template <typename T>
 void negate( T* x , uint i ) {
  x[i] = -x[i];
} struct msl_p2_negate { static const MslParam* get() { static const MslParam p[] = {{MslKind(0), 0, nullptr, "x"}, {MslKind(2), 0, nullptr, "i"}}; return p; } }; template < typename T > msl_p2_negate msl_d_negate(T * x , uint i);
 static void msl_r3() { ::msl::register_kernel<&ops :: scale < half , 4 >, ::msl::result_t<&ops :: msl_d_scale < half , 4 >>>("scale_half"); }
 static void msl_r4() { ::msl::register_kernel<&ops :: scale < float , 4 >, ::msl::result_t<&ops :: msl_d_scale < float , 4 >>>("scale_float"); }
 static void msl_r5() { ::msl::register_kernel<&negate < int >, ::msl::result_t<& msl_d_negate < int >>>("negate_int"); }
 static void msl_r6() { ::msl::register_kernel<static_cast<void (*)(uint * x, uint i)>(negate), decltype(msl_d_negate(::msl::arg<void(uint * x)>(), ::msl::arg<void(uint i)>()))>("negate_uint"); }
extern "C" void msl_register() { ::msl_r3(); ::msl_r4(); ::msl_r5(); ::msl_r6(); }
