// The prefill kernel's threadgroup: how many queries it takes, and how many threads. Shared by host and shader.
#pragma once

#ifndef __METAL_VERSION__
#include <cstdint>
#endif

enum SdpaPrefillTile : int32_t {
  SDPA_PREFILL_SIMDGROUPS = 4,
  SDPA_PREFILL_THREADS = 32 * SDPA_PREFILL_SIMDGROUPS,
  SDPA_PREFILL_QUERIES = 8 * SDPA_PREFILL_SIMDGROUPS,  // the rows of a simdgroup_matrix for each
};
