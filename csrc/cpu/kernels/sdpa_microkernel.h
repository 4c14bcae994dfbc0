// The register block of attention's two matrix products.
#pragma once

#include "cpu/kernels/sdpa_products.h"

namespace fusedops::cpu::FUSEDOPS_ISA {

inline constexpr int kPanel = 2 * kLanes;  // columns of a register block, in the lanes of two vectors

// The rows that are multiplied by a panel: lane i of row r lies at data[r * row_stride + i * depth_stride].
struct LeftOperand {
  const float* data;
  int64_t row_stride;
  int64_t depth_stride;
};

// How operands of type T are multiplied by a panel: lane i of its column c lies at panel[i * kPanel + c].
template <class T>
class Microkernel {
 public:
  // Rows of a block. The sums, a panel's two vectors and a broadcast value are held in registers.
#if defined(FUSEDOPS_SCALAR)
  static constexpr int kRows = 2;
#elif defined(__AVX512F__) || defined(__aarch64__)
  static constexpr int kRows = 8;
#else
  static constexpr int kRows = 4;
#endif
  static constexpr int kDepthStep = 1;               // the depth, in lanes, is a multiple of it
  static constexpr int64_t kMaxDepth = 64;           // longer chains of additions would lose accuracy
  static constexpr bool kNeighbouringDepth = false;  // whether depth_stride has to be 1

  // Keys of a tile, whose K and V of head_dim 128 then take at most 128 KB: within L2.
  static constexpr int64_t kKeys = 128;

  // What a thread holds while it multiplies.
  struct Session {};

  // target[r][c] = sum_i left[r][i] panel[i][c], added to what is there if `add`
  template <int vectors>
  FUSEDOPS_INLINE void multiply(const LeftOperand& left, const float* panel, int64_t depth, bool add, float* target,
                                int64_t target_stride) {
    const Sums<vectors> sums = products<vectors>(left, panel, depth);
    if (add)
      for_each_sum<vectors>(sums, [&](int r, int v, Vec sum) {
        float* cell = target + r * target_stride + v * kLanes;
        store(cell, load(cell) + sum);
      });
    else
      for_each_sum<vectors>(sums, [&](int r, int v, Vec sum) { store(target + r * target_stride + v * kLanes, sum); });
  }

  // target[r][c] = target[r][c] rescale[r] + sum_i left[r][i] panel[i][c]
  template <int vectors>
  FUSEDOPS_INLINE void rescale_and_add(const LeftOperand& left, const float* panel, int64_t depth, const float* rescale,
                                       float* target, int64_t target_stride) {
    // Adding the block's own sum to what was there keeps the chains of rounding errors short.
    const Sums<vectors> sums = products<vectors>(left, panel, depth);
    for_each_sum<vectors>(sums, [&](int r, int v, Vec sum) {
      float* cell = target + r * target_stride + v * kLanes;
      store(cell, load(cell) * splat(rescale[r]) + sum);
    });
  }

 private:
  // A register block, or half of its columns.
  template <int vectors>
  struct Sums {
    Vec of[kRows][vectors];
  };

  template <int vectors>
  FUSEDOPS_INLINE Sums<vectors> products(const LeftOperand& left, const float* panel, int64_t depth) {
    Sums<vectors> sums = {};
    for (int64_t i = 0; i < depth; ++i) {
      Vec columns[vectors];
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) columns[v] = load(panel + i * kPanel + v * kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const Vec factor = splat(left.data[r * left.row_stride + i * left.depth_stride]);
#pragma GCC unroll 2
        for (int v = 0; v < vectors; ++v) sums.of[r][v] = Products<T>::multiply_add(factor, columns[v], sums.of[r][v]);
      }
    }
    return sums;
  }

  // body(row, vector, sum)
  template <int vectors, class Body>
  FUSEDOPS_INLINE void for_each_sum(const Sums<vectors>& sums, Body&& body) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) body(r, v, sums.of[r][v]);
  }
};

}  // namespace fusedops::cpu::FUSEDOPS_ISA
