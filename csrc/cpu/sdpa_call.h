// What sdpa and sdpa_varlen ask of the CPU kernels: attention of some sequences, in one piece of work for all threads.
#pragma once

#include "cpu/cpu.h"
#include "ops/sdpa_varlen.h"

namespace fusedops::cpu {

// How far apart rows of a contiguous output lie, in rows.
struct RowStrides {
  int64_t batch;
  int64_t head;
  int64_t query;
};

struct SdpaCall {
  const SdpaSequence* sequences;  // of one dtype, head_dim and value_dim
  int64_t count;
  const SdpaBuffers& buffers;  // a sequence's rows begin at its first query and its first key
  RowStrides out_rows;
  RowStrides logsumexp_rows;
};

}  // namespace fusedops::cpu
