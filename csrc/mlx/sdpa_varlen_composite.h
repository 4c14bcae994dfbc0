// Attention of packed sequences in MLX's own operators: what GPU streams without Metal run, and what MLX
// differentiates. Pads the sequences to others' lengths and stores the scores.
#pragma once

#include <vector>

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

// With the sequences, where they are known, they are padded to the lengths of similar ones. Else to the longest, and
// the results are NaN throughout where the values of cu_seqlens do not fit: nobody waits here to look at them.
SdpaOutputs sdpa_varlen_composite(SdpaVarlenArrays arrays, const SdpaVarlenProblem& problem, const SdpaOptions& options,
                                  const std::vector<SdpaSequence>* known, mx::Stream s);

}  // namespace fusedops::mlx
