// The kernels and function constants of this library.
#pragma once
#include <string_view>

#include "../sim_abi.h"

namespace simulator {

const MslKernel& find_kernel(std::string_view name);  // which must be there
void compute_constants();                             // those whose value follows from others
bool is_enabled(const MslParam& parameter);

}  // namespace simulator
