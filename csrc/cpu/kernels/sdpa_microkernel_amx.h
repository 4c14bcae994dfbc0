// Attention's two matrix products of bfloat16 in AMX's tile registers: a block of 32 x 32 sums in four tiles.
#pragma once

#include "cpu/kernels/sdpa_microkernel.h"
#include "cpu/kernels/tiles.h"

#if defined(__AMX_BF16__)
namespace fusedops::cpu::FUSEDOPS_ISA {

// TDPBF16PS adds the products of 16 pairs to a sum in two chains of their own, and treats subnormal numbers as zeros.
template <>
class Microkernel<bfloat16> {
 public:
  static constexpr int kRows = 32;
  static constexpr int kDepthStep = 16;
  static constexpr int64_t kMaxDepth = int64_t{1} << 32;  // any
  static constexpr bool kNeighbouringDepth = true;
  static constexpr int64_t kKeys = 256;  // CPUs with AMX have 2 MB of L2, and the sums are rescaled less often

  using Session = Tiles;

  template <int vectors>
  FUSEDOPS_INLINE void multiply(const LeftOperand& left, const float* panel, int64_t depth, bool add, float* target,
                                int64_t target_stride) {
    if (add)
      load_sums<vectors>(target, target_stride);
    else
      clear_sums<vectors>();
    add_products<vectors>(left, panel, depth);
    store_sums<vectors>(target, target_stride);
  }

  template <int vectors>
  FUSEDOPS_INLINE void rescale_and_add(const LeftOperand& left, const float* panel, int64_t depth, const float* rescale,
                                       float* target, int64_t target_stride) {
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) {
        float* cell = target + r * target_stride + v * kLanes;
        store(cell, load(cell) * splat(rescale[r]));
      }
    multiply<vectors>(left, panel, depth, true, target, target_stride);
  }

 private:
  static_assert(kLanes == 16 && kPanel == 32);

  // The sums are tiles 0 to 3: rows 0 to 15 and columns 0 to 15, the columns beside, the rows below, both.
  template <int vectors>
  FUSEDOPS_INLINE void clear_sums() {
    _tile_zero(0);
    _tile_zero(2);
    if constexpr (vectors == 2) {
      _tile_zero(1);
      _tile_zero(3);
    }
  }
  template <int vectors>
  FUSEDOPS_INLINE void load_sums(const float* source, int64_t stride) {
    write_memory();
    _tile_loadd(0, source, stride * 4);
    _tile_loadd(2, source + 16 * stride, stride * 4);
    if constexpr (vectors == 2) {
      _tile_loadd(1, source + 16, stride * 4);
      _tile_loadd(3, source + 16 * stride + 16, stride * 4);
    }
  }
  template <int vectors>
  FUSEDOPS_INLINE void store_sums(float* target, int64_t stride) {
    _tile_stored(0, target, stride * 4);
    _tile_stored(2, target + 16 * stride, stride * 4);
    if constexpr (vectors == 2) {
      _tile_stored(1, target + 16, stride * 4);
      _tile_stored(3, target + 16 * stride + 16, stride * 4);
    }
  }

  template <int vectors>
  FUSEDOPS_INLINE void add_products(const LeftOperand& left, const float* panel, int64_t depth) {
    write_memory();
    const float *upper = left.data, *lower = left.data + 16 * left.row_stride;
    for (int64_t i = 0; i < depth; i += kDepthStep) {
      _tile_loadd(6, panel + i * kPanel, kPanel * 4);
      _tile_loadd(4, upper + i, left.row_stride * 4);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(5, lower + i, left.row_stride * 4);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (vectors == 2) {
        _tile_loadd(7, panel + i * kPanel + 16, kPanel * 4);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(3, 5, 7);
      }
    }
  }

  // GCC does not know that a tile's load reads memory, and would delay or leave out stores to it.
  FUSEDOPS_INLINE void write_memory() { __asm__ volatile("" ::: "memory"); }
};

}  // namespace fusedops::cpu::FUSEDOPS_ISA
#endif
