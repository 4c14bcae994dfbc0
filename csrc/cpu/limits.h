// Measured limits of this machine's CPU. Less than one thread is a ValueError.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fusedops::cpu {

// GB/s read plus written by a copy of `bytes` bytes: the best of several passes of a loop over vectors, of one that
// writes past the caches, and of memcpy.
double copy_bandwidth(int64_t bytes, int threads);

// GB/s of reading `bytes` bytes, the best of several passes.
double read_bandwidth(int64_t bytes, int threads);

struct Rate {
  std::string instruction_set;
  std::string dtype;  // of the factors: "float32", or "bfloat16" where the set multiplies pairs of those
  double gflops;
};

// GFLOP/s of multiply-adds into float32 for each instruction set that this CPU has, the best of several passes.
std::vector<Rate> arithmetic_rates(int threads);

}  // namespace fusedops::cpu
