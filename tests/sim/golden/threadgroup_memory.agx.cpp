#include "metal_agx.h"
using namespace metal;
 void reverse(__local uchar* msl_pool, __global float* x , uint i ) {
  typedef float row__t[64], other__t[2][32]; constexpr int row__at = 0; __local row__t& row = *(__local row__t*)(msl_pool + row__at); constexpr int other__at = row__at + (int(sizeof(row__t)) + 15) / 16 * 16; __local other__t& other = *(__local other__t*)(msl_pool + other__at);
   typedef vec<half, 4> tile__t[8]; constexpr int tile__at = other__at + (int(sizeof(other__t)) + 15) / 16 * 16; __local tile__t& tile = *(__local tile__t*)(msl_pool + tile__at);
  __local float* end = row + 63;
  row[i] = x[i];
  other[0][i % 32] = 0;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  x[i] = end[-int(i)] + tile[0].x;
}  constexpr int msl_most_reverse = 384;
kernel __attribute__((reqd_work_group_size((MSL_THREADS(::msl_most_reverse) + 3) / 4, 4, 1))) void msl_reverse(__global uchar* b0, uint gx, uint gy, uint gz, uint tx, uint ty, uint tz) { __local uint4 pool[2048]; static_cast<decltype(::reverse)*>(::reverse)((__local uchar*)pool, msl_device_pointer{b0}, msl_position_in_threadgroup()); }
