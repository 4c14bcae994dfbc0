#include "metal_agx.h"
using namespace metal;
__constant bool has_bias  = bool(0); constexpr bool has_bias__defined = false;
 void add_bias(__local uchar* msl_pool, __global const float* x , __constant float* bias  ,
                     __global float* out, __local float* scratch ,
                     uint2 position , ushort lane ) {
  out[position.x] = x[position.x] + (has_bias ? bias[lane] : 0);
}  constexpr int msl_most_add_bias = 384;
kernel __attribute__((reqd_work_group_size((MSL_THREADS(::msl_most_add_bias) + 3) / 4, 4, 1))) void msl_add_bias(__global uchar* b0, __constant uchar* b3, __global uchar* b4, uint gx, uint gy, uint gz, uint tx, uint ty, uint tz) { __local uint4 pool[2048]; static_cast<decltype(::add_bias)*>(::add_bias)((__local uchar*)pool, msl_device_pointer{b0}, msl_constant_pointer{b3}, msl_device_pointer{b4}, msl_threadgroup_pointer{(__local uchar*)pool + 16384}, msl_position_in_grid(tx, ty, tz), msl_rt_lane()); }
