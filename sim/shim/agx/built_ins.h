// What SPIR-V has for Metal's functions, by names that llvm-spirv knows. The scope 3 is a SIMD-group, 2 a threadgroup.
#pragma once

#define MSL_PURE(...) __attribute__((const)) __VA_ARGS__;
MSL_PURE(float __spirv_ocl_native_exp2(float))
MSL_PURE(float __spirv_ocl_native_log2(float))
MSL_PURE(float __spirv_ocl_native_recip(float))
MSL_PURE(float __spirv_ocl_native_rsqrt(float))
MSL_PURE(float __spirv_ocl_native_sqrt(float))
MSL_PURE(float __spirv_ocl_native_sin(float))
MSL_PURE(float __spirv_ocl_native_cos(float))
MSL_PURE(float __spirv_ocl_fma(float, float, float))
MSL_PURE(float __spirv_ocl_fabs(float))
MSL_PURE(half __spirv_ocl_fabs(half))
MSL_PURE(float __spirv_ocl_floor(float))
MSL_PURE(float __spirv_ocl_ceil(float))
MSL_PURE(float __spirv_ocl_trunc(float))
MSL_PURE(float __spirv_ocl_rint(float))
MSL_PURE(float __spirv_ocl_copysign(float, float))
#undef MSL_PURE

void __spirv_ControlBarrier(int, int, int);
float __spirv_GroupFAdd(int, int, float);
half __spirv_GroupFAdd(int, int, half);
int __spirv_GroupIAdd(int, int, int);
uint __spirv_GroupIAdd(int, int, uint);
float __spirv_GroupFMax(int, int, float);
half __spirv_GroupFMax(int, int, half);
float __spirv_GroupFMin(int, int, float);
half __spirv_GroupFMin(int, int, half);
int __spirv_GroupSMax(int, int, int);
uint __spirv_GroupUMax(int, int, uint);
int __spirv_GroupSMin(int, int, int);
uint __spirv_GroupUMin(int, int, uint);
bool __spirv_GroupAll(int, bool);
bool __spirv_GroupAny(int, bool);
float __spirv_GroupNonUniformBroadcast(int, float, uint);
half __spirv_GroupNonUniformBroadcast(int, half, uint);
int __spirv_GroupNonUniformBroadcast(int, int, uint);
uint __spirv_GroupNonUniformBroadcast(int, uint, uint);
size_t __spirv_BuiltInLocalInvocationId(int);
size_t __spirv_BuiltInWorkgroupId(int);
uint __spirv_BuiltInSubgroupId();
uint __spirv_BuiltInSubgroupLocalInvocationId();

inline uint msl_rt_lane() { return __spirv_BuiltInSubgroupLocalInvocationId(); }
