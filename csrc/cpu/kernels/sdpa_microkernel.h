// The register block of attention's two matrix products.
#pragma once

#include "cpu/kernels/sdpa_products.h"

namespace fusedops::cpu::FUSEDOPS_ISA {

inline constexpr int kPanel = 2 * kLanes;  // columns of a register block, in the lanes of two vectors
// Its rows. The sums, a panel's two vectors and a broadcast value are held in registers.
#if defined(FUSEDOPS_SCALAR)
inline constexpr int kStrip = 2;
#elif defined(__AVX512F__) || defined(__aarch64__)
inline constexpr int kStrip = 8;
#else
inline constexpr int kStrip = 4;
#endif

// A register block, or half of its columns.
template <int vectors>
using Sums = Vec[kStrip][vectors];

// sums[r] += sum_i left[r * row_stride + i * depth_stride] * panel[i * kPanel]
template <class Products, int vectors>
FUSEDOPS_INLINE void multiply(const float* left, int64_t row_stride, int64_t depth_stride, const float* panel,
                              int64_t depth, Sums<vectors>& sums) {
  for (int64_t i = 0; i < depth; ++i) {
    Vec columns[vectors];
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) columns[v] = load(panel + i * kPanel + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kStrip; ++r) {
      const Vec factor = splat(left[r * row_stride + i * depth_stride]);
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) sums[r][v] = Products::multiply_add(factor, columns[v], sums[r][v]);
    }
  }
}

// body(row, vector, sum)
template <int vectors, class Body>
FUSEDOPS_INLINE void for_each_sum(const Sums<vectors>& sums, Body&& body) {
#pragma GCC unroll 8
  for (int r = 0; r < kStrip; ++r)
#pragma GCC unroll 2
    for (int v = 0; v < vectors; ++v) body(r, v, sums[r][v]);
}

}  // namespace fusedops::cpu::FUSEDOPS_ISA
