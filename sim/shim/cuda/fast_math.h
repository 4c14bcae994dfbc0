// fast:: functions by the GPU's approximate instructions, which, as on Apple GPUs, flush subnormal numbers to zero.
#pragma once

#define MSL_FAST(name) detail::fast_##name

namespace metal::detail {
#define MSL_INSTRUCTION(name, instruction)               \
  MSL_FN inline float name(float x) {                    \
    float result = 0;                                    \
    asm(instruction " %0, %1;" : "=f"(result) : "f"(x)); \
    return result;                                       \
  }
MSL_INSTRUCTION(fast_exp2, "ex2.approx.ftz.f32")
MSL_INSTRUCTION(fast_log2, "lg2.approx.ftz.f32")
MSL_INSTRUCTION(fast_rsqrt, "rsqrt.approx.ftz.f32")
MSL_INSTRUCTION(fast_reciprocal, "rcp.approx.ftz.f32")
#undef MSL_INSTRUCTION

MSL_FN inline float fast_exp(float x) { return fast_exp2(x * 1.44269504089f); }
MSL_FN inline float fast_log(float x) { return fast_log2(x) * 0.69314718056f; }
MSL_FN inline float fast_divide(float x, float y) { return x * fast_reciprocal(y); }
}  // namespace metal::detail
