#include "metal_sim.h"
using namespace metal;
 void reverse( float* x , uint i ) {
  typedef float row__t[64], other__t[2][32]; static MslTgSlot row__s; row__t& row = *(row__t*)msl_rt_tg(&row__s, sizeof(row__t), alignof(row__t)); static MslTgSlot other__s; other__t& other = *(other__t*)msl_rt_tg(&other__s, sizeof(other__t), alignof(other__t));
   typedef vec<half, 4> tile__t[8]; struct tile__a { alignas ( 16 ) char c; }; static MslTgSlot tile__s; tile__t& tile = *(tile__t*)msl_rt_tg(&tile__s, sizeof(tile__t), alignof(tile__a));
   float* end = row + 63;
  row[i] = x[i];
  other[0][i % 32] = 0;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  x[i] = end[-int(i)] + tile[0].x;
} struct msl_p1_reverse { static const MslParam* get() { static const MslParam p[] = {{MslKind(0), 0, nullptr, "x"}, {MslKind(3), 0, nullptr, "i"}}; return p; } };  msl_p1_reverse msl_d_reverse(float * x , uint i); static void msl_r2() { ::msl::register_kernel<&reverse, msl_p1_reverse>("reverse"); }
extern "C" void msl_register() { ::msl_r2(); }
