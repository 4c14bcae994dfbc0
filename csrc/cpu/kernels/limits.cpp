// What the machine can do at most, for the benchmark to compare with.
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"

namespace fusedops::cpu::FUSEDOPS_ISA {

double multiply_add(int64_t iterations) {
  constexpr int chains = 10;  // more than latency x throughput of any current core
  Vec sums[chains];
#pragma GCC unroll 10
  for (int c = 0; c < chains; ++c) sums[c] = splat(0.1f * c);
  const Vec factor = splat(0.9999f), term = splat(1e-5f);
  for (int64_t i = 0; i < iterations; ++i)
#pragma GCC unroll 10
    for (int c = 0; c < chains; ++c) sums[c] = sums[c] * factor + term;
  Vec total{};
#pragma GCC unroll 10
  for (int c = 0; c < chains; ++c) total += sums[c];
  [[maybe_unused]] volatile float used = sum_lanes(total);  // or the compiler would leave out the work
  return 2.0 * kLanes * chains * static_cast<double>(iterations);
}

void copy(const float* source, float* target, int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes) store(target + i, load(source + i));
}

}  // namespace fusedops::cpu::FUSEDOPS_ISA
