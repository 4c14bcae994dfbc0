#include <metal_stdlib>
using namespace metal;

constant uint window_length [[function_constant(0)]];
constant bool has_window [[function_constant(1)]];
constant uint window = has_window ? window_length : 0;
constant bool is_short = window < 10;
constant float plain = 2;
constant float table[2] = {0.5f, 1.5f};

kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  if (is_short && is_function_constant_defined(window_length)) x[i] = window * plain + table[i & 1];
}
