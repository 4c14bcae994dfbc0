// How partial results lie in memory, and the threadgroup that combines them. Shared by host and shader.
#pragma once

#ifndef __METAL_VERSION__
#include <cstdint>
#endif

enum SdpaPartialLayout : int32_t {
  SDPA_PARTIAL_CHUNK = 4,                          // floats that lie together
  SDPA_COMBINE_COLUMNS = 32 * SDPA_PARTIAL_CHUNK,  // of a threadgroup: a chunk for each lane
  SDPA_COMBINE_SIMDGROUPS = 8,
  SDPA_COMBINE_THREADS = 32 * SDPA_COMBINE_SIMDGROUPS,
};
