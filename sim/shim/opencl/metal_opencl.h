// Metal for clang's "C++ for OpenCL", declarations only: nothing compiled with it runs. A real clang checks with it
// what the simulator's host compiler cannot, above all address spaces. shim/agx defines what it declares.
#pragma once
#pragma OPENCL EXTENSION cl_khr_fp16 : enable
#include <cstddef>
#include <cstdint>

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef __bf16 bfloat;

__local void* msl_local(size_t);
uint msl_rt_lane();
#define is_function_constant_defined(x) true

// OpenCL has atomic types of its own.
#define atomic_int msl_atomic_int
#define atomic_uint msl_atomic_uint
#define atomic_float msl_atomic_float
#define atomic_ulong msl_atomic_ulong

#include "math.h"
#include "metal_internals.h"
#include "simdgroup.h"
#include "synchronization.h"
#include "traits.h"
#include "vectors.h"
