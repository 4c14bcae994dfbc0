// The decode kernels' threadgroups and the keys that they take at a time. Shared by host and shader.
#pragma once

#ifndef __METAL_VERSION__
#include <cstdint>
#endif

enum SdpaDecodeTile : int32_t {
  SDPA_DECODE_VECTOR_KEYS = 32,  // as many as a SIMD-group has lanes
  SDPA_DECODE_MATRIX_ROWS = 8,   // of a simdgroup_matrix
  SDPA_DECODE_MATRIX_KEYS = 16,  // of two
  SDPA_DECODE_MATRIX_SIMDGROUPS = 4,
};
