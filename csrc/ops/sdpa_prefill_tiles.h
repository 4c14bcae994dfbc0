// The tiles of metal/sdpa_prefill.metal: the one place where they are chosen. docs/kernels.md explains what they are.
//
// Registers are what the matrices take of a thread's 32-bit ones through the loop: for each fragment of rows value_dim
// / 4 for the values, head_dim / 4 for q (half of that in 16 bits), keys / 4 for the scores. We take it that a thread
// of an Apple GPU has 128 (https://github.com/dougallj/applegpu). Loads in flight take 16, addresses and the like about
// 30: so matrices should take 80 at most.
//
// Threadgroup memory is that of the tiles of keys and values, their padding included. It stays near 16 KiB, half of
// what one threadgroup may have: two or three threadgroups then share a core, and one computes while another waits.
//
// Two fragments of rows halve what is read from device and threadgroup memory for each multiply-add, but take twice the
// registers. GPU generations are not told apart: nothing that we know of would ask for other tiles on one of them.
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "metal/sdpa_prefill_tile.h"

namespace fusedops {

struct SdpaPrefillTiles {
  int64_t element_size;
  int64_t most_dims;      // head_dim + value_dim, as compiled for
  int64_t row_fragments;  // of a SIMD-group
  int64_t keys;

  int64_t rows() const { return row_fragments * SDPA_PREFILL_FRAGMENT_ROWS; }
};

// Registers and memory below are those with equal dimensions.
inline constexpr SdpaPrefillTiles kSdpaPrefillTiles[] = {
    // 64: 64, 9.0 KiB. 80: 76, 11.0 KiB. Two fragments fit; 64 keys would add 16 registers and save only barriers.
    {2, 160, 2, 32},
    // 96: 44, 13.0 KiB. 128: 56, 17.0 KiB. Two fragments would be 88 and 112 registers.
    {2, 256, 1, 32},
    // 160: 64, 10.5 KiB. 192: 76, 12.5 KiB. 256: 100, 16.5 KiB. 32 keys would take more than half of the memory.
    {2, 512, 1, 16},
    // 32: 48, 9.0 KiB. 64: 80, 17.0 KiB. Two fragments just fit.
    {4, 128, 2, 32},
    // 80: 44, 10.5 KiB. 128: 68, 16.5 KiB. Two fragments would be 88 registers and more.
    {4, 256, 1, 16},
    // 160: 82, 10.3 KiB. 192: 98, 12.3 KiB. 256: 130, 16.3 KiB: some of q will spill, once for each tile.
    {4, 512, 1, 8},
};

// The dimensions that the kernel is compiled for: those of models, and beyond them few. Others are padded to the next.
inline constexpr int64_t kSdpaPrefillDims[] = {32, 40, 48, 64, 72, 80, 88, 96, 112, 128, 160, 192, 224, 256};

// Where head_dim and value_dim differ, so that there are not too many pairs: 192 and 128, 96 and 64 are among them.
inline constexpr int64_t kSdpaPrefillUnevenDims = 32;  // and its multiples

// Of the tiles of keys and values: tile_pitch() of the kernel is an odd number of 16-byte chunks.
constexpr int64_t sdpa_prefill_threadgroup_bytes(int64_t element_size, int64_t head_dim, int64_t value_dim,
                                                 int64_t keys) {
  const auto pitch = [&](int64_t dim) { return (dim * element_size / 16 | 1) * 16; };
  return keys * (pitch(head_dim) + pitch(value_dim));
}

}  // namespace fusedops
