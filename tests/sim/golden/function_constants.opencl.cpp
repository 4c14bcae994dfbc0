#include "metal_opencl.h"
using namespace metal;
__constant uint window_length  = uint(0);
__constant bool has_window  = bool(0);
__constant uint window = has_window ? window_length : 0;
__constant bool is_short = window < 10;
__constant float plain = 2;
__constant float table[2] = {0.5f, 1.5f};
 void k(__global float* x , uint i ) {
  if (is_short && is_function_constant_defined(window_length)) x[i] = window * plain + table[i & 1];
}
