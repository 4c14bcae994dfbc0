// Metal for clang's "C++ for OpenCL" with definitions, for a compiler of Apple's GPU instructions: the declarations are
// those of the static check. What is defined nowhere is an error once a kernel uses it.
#pragma once
#pragma OPENCL EXTENSION __cl_clang_function_pointers : enable
#include "metal_opencl.h"

#undef is_function_constant_defined
#define is_function_constant_defined(x) x##__defined

#include "math_functions.h"
#include "simdgroup_functions.h"

// How many threads a threadgroup may have bounds the registers of each.
#ifdef MSL_MOST_THREADS
#define MSL_THREADS(...) MSL_MOST_THREADS
#else
#define MSL_THREADS(...) (__VA_ARGS__)
#endif

// A value, or of integral_constant<T, value> and the like its number.
template <class T>
constexpr T msl_number(T x) {
  return x;
}

template <template <class U, U> class Constant, class T, T value>
constexpr T msl_number(Constant<T, value>) {
  return value;
}

// ---- What entry points pass to kernels: each becomes what the kernel's parameter wants.
#define MSL_ARGUMENT(name, SPACE)         \
  struct msl_##name##_pointer {           \
    SPACE uchar* address;                 \
    template <class T>                    \
    operator SPACE T*() const __private { \
      return (SPACE T*)address;           \
    }                                     \
  };                                      \
  struct msl_##name##_reference {         \
    SPACE uchar* address;                 \
    template <class T>                    \
    operator SPACE T&() const __private { \
      return *(SPACE T*)address;          \
    }                                     \
  };
MSL_ARGUMENT(device, __global)
MSL_ARGUMENT(constant, __constant)
MSL_ARGUMENT(threadgroup, __local)
#undef MSL_ARGUMENT

struct msl_position {
  uint x, y, z;
  template <class T>
  operator T() const {
    if constexpr (msl_lanes<T> == 1)
      return T(x);
    else if constexpr (msl_lanes<T> == 2)
      return msl_make<T>(x, y);
    else
      return msl_make<T>(x, y, z);
  }
};

inline msl_position msl_position_in_threadgroup() {
  return {uint(__spirv_BuiltInLocalInvocationId(0)), uint(__spirv_BuiltInLocalInvocationId(1)),
          uint(__spirv_BuiltInLocalInvocationId(2))};
}

inline msl_position msl_threadgroup_position() {
  return {uint(__spirv_BuiltInWorkgroupId(0)), uint(__spirv_BuiltInWorkgroupId(1)),
          uint(__spirv_BuiltInWorkgroupId(2))};
}

inline msl_position msl_position_in_grid(uint tx, uint ty, uint tz) {
  const msl_position thread = msl_position_in_threadgroup(), group = msl_threadgroup_position();
  return {group.x * tx + thread.x, group.y * ty + thread.y, group.z * tz + thread.z};
}

inline uint msl_index_in_threadgroup(uint tx, uint ty) {
  const msl_position thread = msl_position_in_threadgroup();
  return (thread.z * ty + thread.y) * tx + thread.x;
}
