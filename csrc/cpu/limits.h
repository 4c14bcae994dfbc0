// Measured limits of this machine's CPU.
#pragma once

#include <cstdint>

namespace fusedops::cpu {

// GB/s read plus written by a copy of `bytes` bytes, the best of several passes.
double copy_bandwidth(int64_t bytes, int threads);

// GFLOP/s of float32 multiply-adds in the widest vectors that the kernels use, the best of several passes.
double fma_rate(int threads);

}  // namespace fusedops::cpu
