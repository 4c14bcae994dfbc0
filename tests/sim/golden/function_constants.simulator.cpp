#include "metal_sim.h"
using namespace metal;
static uint window_length; static bool window_length__defined; static ::msl::Constant msl_c_window_length(0, "window_length", &window_length, sizeof window_length, &window_length__defined, nullptr);
static bool has_window; static bool has_window__defined; static ::msl::Constant msl_c_has_window(1, "has_window", &has_window, sizeof has_window, &has_window__defined, nullptr);
static uint window; static bool window__defined; static ::msl::Constant msl_c_window(-1, "window", &window, sizeof window, &window__defined, []() { window = has_window ? window_length : 0; });
static bool is_short; static bool is_short__defined; static ::msl::Constant msl_c_is_short(-1, "is_short", &is_short, sizeof is_short, &is_short__defined, []() { is_short = window < 10; });
const float plain = 2;
const float table[2] = {0.5f, 1.5f};
 void k( float* x , uint i ) {
  if (is_short && is_function_constant_defined(window_length)) x[i] = window * plain + table[i & 1];
} struct msl_p1_k { static const MslParam* get() { static const MslParam p[] = {{MslKind(0), 0, nullptr, "x"}, {MslKind(2), 0, nullptr, "i"}}; return p; } };  msl_p1_k msl_d_k(float * x , uint i); static ::msl::Kernel<&k, msl_p1_k> msl_k2("k");
