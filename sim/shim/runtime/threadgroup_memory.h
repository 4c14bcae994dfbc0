// Threadgroup memory: arguments with a length and `threadgroup T x[N]` variables, laid out anew for each threadgroup.
#pragma once
#include <cstddef>

#include "../sim_abi.h"

namespace simulator {

void begin_threadgroup_memory(const uint32_t (&lengths)[kMslBuffers], MslLaunch& launch);
void end_threadgroup_memory();  // reports what exceeds the device's limit

}  // namespace simulator
