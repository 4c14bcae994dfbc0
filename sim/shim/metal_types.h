// Metal's types and the functions that need no other thread, for a C++17 host compiler or nvcc.
//
// No libc or libm header is included, so a kernel that calls something that Metal lacks (printf, erf, std::...) does
// not compile. Everything here is shared by the targets; MSL_FN is what a target puts before a function.
#pragma once
#ifndef MSL_CUDA  // metal_cuda.h includes these before it opens the namespace that this file is included in
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>
#endif
#ifndef MSL_FN
#define MSL_FN
#endif

// clang-format off: the order matters
#include "metal/scalars.h"
#include "metal/small_float.h"
#ifdef MSL_CUDA
#include "cuda/half.h"
#else
typedef _Float16 half;  // rounds after every operation, as Metal's half does
#endif
#include "metal/bfloat.h"
#include "metal/type_traits.h"
#include "metal/limits.h"
#include "metal/vectors.h"
#include "metal/vector_operators.h"
#include "metal/packed.h"
#ifdef MSL_CUDA
#include "cuda/fast_math.h"
#endif
#include "metal/math.h"
#include "metal/integers.h"
#include "metal/relational.h"
#include "metal/memory.h"
#include "metal/names.h"
// clang-format on
