// The prefill kernel's threadgroup: its threads, and the rows that it takes. Shared by host and shader.
#pragma once

#ifndef __METAL_VERSION__
#include <cstdint>
#endif

enum SdpaPrefillTile : int32_t {
  SDPA_PREFILL_SIMDGROUPS = 4,
  SDPA_PREFILL_THREADS = 32 * SDPA_PREFILL_SIMDGROUPS,
  // Of a threadgroup, times the fragments of rows that a SIMD-group takes: 8 rows of a simdgroup_matrix each.
  SDPA_PREFILL_FRAGMENT_ROWS = 8 * SDPA_PREFILL_SIMDGROUPS,
};
