// Metal for nvcc: included first in every kernel that was translated for CUDA. Everything lives in namespace mtl,
// because CUDA has a global float4 of its own. SIMD-groups are warps, threadgroup memory is shared memory, device
// memory is global memory. All 32 lanes must take part in every SIMD-group operation, and there are no partial
// threadgroups.
#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "cuda/arguments.h"
#include "metal/kernel_parameters.h"

#define MSL_CUDA
#define MSL_FN __device__
#define MSL_LIBM(name) ::name##f
#define is_function_constant_defined(x) (x##__defined)

namespace mtl {
// clang-format off: the order matters
#include "metal_types.h"
#include "cuda/barriers.h"
#include "cuda/lanes.h"
#include "metal/simdgroup.h"
#include "cuda/matrix_product.h"
#include "metal/simdgroup_matrix.h"
#include "cuda/atomics.h"
#include "metal/signatures.h"
#include "cuda/launch.h"
#include "metal_internals.h"
// clang-format on
}  // namespace mtl
