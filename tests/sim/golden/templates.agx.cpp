#include "metal_agx.h"
using namespace metal;
namespace ops {
template <typename T, int N>
 void scale(__local uchar* msl_pool, __global T* x , uint i ) {
  x[i] *= T(N);
} template < typename T , int N > constexpr int msl_most_scale = 384;
}
template <typename T>
 void negate(__local uchar* msl_pool, __global T* x , uint i ) {
  x[i] = -x[i];
} template < typename T > constexpr int msl_most_negate = 384;
kernel __attribute__((reqd_work_group_size((MSL_THREADS(ops::msl_most_scale < half , 4 >) + 3) / 4, 4, 1))) void msl_scale_half(__global uchar* b0, uint gx, uint gy, uint gz, uint tx, uint ty, uint tz) { __local uint4 pool[2048]; static_cast<decltype(ops::scale < half , 4 >)*>(ops::scale < half , 4 >)((__local uchar*)pool, msl_device_pointer{b0}, msl_position_in_grid(tx, ty, tz)); }
kernel __attribute__((reqd_work_group_size((MSL_THREADS(ops::msl_most_scale < float , 4 >) + 3) / 4, 4, 1))) void msl_scale_float(__global uchar* b0, uint gx, uint gy, uint gz, uint tx, uint ty, uint tz) { __local uint4 pool[2048]; static_cast<decltype(ops::scale < float , 4 >)*>(ops::scale < float , 4 >)((__local uchar*)pool, msl_device_pointer{b0}, msl_position_in_grid(tx, ty, tz)); }
kernel __attribute__((reqd_work_group_size((MSL_THREADS(msl_most_negate < int >) + 3) / 4, 4, 1))) void msl_negate_int(__global uchar* b0, uint gx, uint gy, uint gz, uint tx, uint ty, uint tz) { __local uint4 pool[2048]; static_cast<decltype(negate < int >)*>(negate < int >)((__local uchar*)pool, msl_device_pointer{b0}, msl_position_in_grid(tx, ty, tz)); }
kernel __attribute__((reqd_work_group_size((MSL_THREADS(384) + 3) / 4, 4, 1))) void msl_negate_uint(__global uchar* b0, uint gx, uint gy, uint gz, uint tx, uint ty, uint tz) { __local uint4 pool[2048]; negate((__local uchar*)pool, (__global uint *)msl_device_pointer{b0}, msl_position_in_grid(tx, ty, tz)); }
