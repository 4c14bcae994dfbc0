#include "metal_opencl.h"
using namespace metal;
 void reverse(__global float* x , uint i ) {
  typedef float row__t[64], other__t[2][32]; __local row__t& row = *(__local row__t*)msl_local(sizeof(row__t)); __local other__t& other = *(__local other__t*)msl_local(sizeof(other__t));
   typedef vec<half, 4> tile__t[8]; __local tile__t& tile = *(__local tile__t*)msl_local(sizeof(tile__t));
  __local float* end = row + 63;
  row[i] = x[i];
  other[0][i % 32] = 0;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  x[i] = end[-int(i)] + tile[0].x;
}
