// The kernels and function constants of this library.
#pragma once
#include <span>
#include <string>

#include "../sim_abi.h"

namespace simulator {

struct Kernel {
  MslEntry entry;
  std::span<const MslParam> parameters;
};

const Kernel* find_kernel(const std::string& name);  // null: there is none
void compute_constants();                            // those whose value follows from others
bool is_enabled(const MslParam& parameter);

}  // namespace simulator
