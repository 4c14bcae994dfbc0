#include "metal_sim.h"
using namespace metal;
static bool has_bias; static bool has_bias__defined; static void msl_r1() { ::msl::register_constant(1, "has_bias", has_bias, has_bias__defined, nullptr); }
 void add_bias( const float* x , const float* bias  ,
                      float* out,  float* scratch ,
                     uint2 position , ushort lane ) {
  out[position.x] = x[position.x] + (has_bias ? bias[lane] : 0);
} struct msl_p2_add_bias { static const MslParam* get() { static const MslParam p[] = {{MslKind(0), 0, nullptr, "x"}, {MslKind(0), 3, &has_bias, "bias"}, {MslKind(0), 4, nullptr, "out"}, {MslKind(1), 0, nullptr, "scratch"}, {MslKind(2), 0, nullptr, "position"}, {MslKind(9), 0, nullptr, "lane"}}; return p; } };  msl_p2_add_bias msl_d_add_bias(const float * x , const float * bias , float * out , float * scratch , uint2 position , ushort lane); static void msl_r3() { ::msl::register_kernel<&add_bias, msl_p2_add_bias>("add_bias"); }
extern "C" void msl_register() { ::msl_r1(); ::msl_r3(); }
