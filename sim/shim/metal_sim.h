// Metal for the host: included first in every translated kernel. Waiting, threadgroup memory and registration are calls
// into the runtime (sim_abi.h).
#pragma once
// clang-format off: the order matters
#include "sim_abi.h"
#ifdef MSL_COUNT
#define MSL_EXPONENTIAL(name, x) (msl_rt_exponential(), MSL_LIBM(name)(x))
#endif
#include "metal_types.h"
#include "host/site.h"
#include "host/barriers.h"
#include "host/lanes.h"
#include "metal/simdgroup.h"
#include "host/matrix_product.h"
#include "metal/simdgroup_matrix.h"
#include "host/atomics.h"
#include "metal/signatures.h"
#include "host/registration.h"
#include "metal_internals.h"
// clang-format on

#define is_function_constant_defined(x) (x##__defined)
