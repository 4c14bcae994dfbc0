// The pages behind large outputs.
#pragma once

#include <cstdint>

namespace fusedops::cpu {

// To be called on a new output before anything is written to it. Fresh memory is mapped page by page as it is first
// touched, which costs more than the operators themselves; where the system leaves the choice, a large output gets huge
// pages.
void prepare_output(void* data, int64_t bytes);

}  // namespace fusedops::cpu
