// Attention of packed sequences in MLX's own operators: what GPU streams without Metal run, and what MLX
// differentiates. Pads the sequences to the longest ones' lengths and stores the scores.
#pragma once

#include "mlx/sdpa_composite.h"
#include "ops/sdpa_varlen.h"

namespace fusedops::mlx {

struct SdpaVarlenArrays {
  mx::array q;
  mx::array k;
  mx::array v;
  mx::array cu_seqlens_q;
  mx::array cu_seqlens_k;
  OptionalArray sinks;
};

// NaN throughout where the values of cu_seqlens do not fit: nobody waits here to look at them.
SdpaOutputs sdpa_varlen_composite(const SdpaVarlenArrays& arrays, const SdpaVarlenProblem& problem,
                                  const SdpaOptions& options, mx::Stream s);

}  // namespace fusedops::mlx
