#include "metal_agx.h"
using namespace metal;
__constant uint window_length  = uint(0); constexpr bool window_length__defined = false;
__constant bool has_window  = bool(0); constexpr bool has_window__defined = false;
__constant uint window = has_window ? window_length : 0;
__constant bool is_short = window < 10;
__constant float plain = 2;
__constant float table[2] = {0.5f, 1.5f};
 void k(__local uchar* msl_pool, __global float* x , uint i ) {
  if (is_short && is_function_constant_defined(window_length)) x[i] = window * plain + table[i & 1];
}  constexpr int msl_most_k = 384;
kernel __attribute__((reqd_work_group_size((MSL_THREADS(::msl_most_k) + 3) / 4, 4, 1))) void msl_k(__global uchar* b0, uint gx, uint gy, uint gz, uint tx, uint ty, uint tz) { __local uint4 pool[2048]; static_cast<decltype(::k)*>(::k)((__local uchar*)pool, msl_device_pointer{b0}, msl_position_in_grid(tx, ty, tz)); }
