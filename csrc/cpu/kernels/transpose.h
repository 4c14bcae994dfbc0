// Square blocks of lanes, transposed in registers.
#pragma once

#include <utility>

#include "cpu/kernels/simd.h"

namespace fusedops::cpu::FUSEDOPS_ISA {

// The first halves of two vectors, lanes alternating; the second halves.
template <int... lane>
FUSEDOPS_INLINE Vec zip_first(Vec a, Vec b, std::integer_sequence<int, lane...>) {
  return __builtin_shufflevector(a, b, (lane / 2 + lane % 2 * kLanes)...);
}
template <int... lane>
FUSEDOPS_INLINE Vec zip_second(Vec a, Vec b, std::integer_sequence<int, lane...>) {
  return __builtin_shufflevector(a, b, (kLanes / 2 + lane / 2 + lane % 2 * kLanes)...);
}

// rows[i][j] becomes rows[j][i]. Zipping row i with row i + kLanes / 2 rotates the bits of a row's number joined to
// those of a lane's by one; after log2(kLanes) rounds the two have changed places.
FUSEDOPS_INLINE void transpose(Vec (&rows)[kLanes]) {
  if constexpr (kLanes > 1) {
    constexpr std::make_integer_sequence<int, kLanes> lanes;
#pragma GCC unroll 4
    for (int round = 1; round < kLanes; round *= 2) {
      Vec zipped[kLanes];
#pragma GCC unroll 8
      for (int i = 0; i < kLanes / 2; ++i) {
        zipped[2 * i] = zip_first(rows[i], rows[i + kLanes / 2], lanes);
        zipped[2 * i + 1] = zip_second(rows[i], rows[i + kLanes / 2], lanes);
      }
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) rows[i] = zipped[i];
    }
  }
}

}  // namespace fusedops::cpu::FUSEDOPS_ISA
