// Attention in MLX's own operators, in float32: what GPU streams run until there are kernels, and what MLX
// differentiates. Stores the scores.
#pragma once

#include "mlx/arrays.h"
#include "ops/sdpa.h"

namespace fusedops::mlx {

struct SdpaArrays {
  mx::array q;
  mx::array k;
  mx::array v;
  OptionalArray mask;
  OptionalArray sinks;
};

struct SdpaOutputs {
  mx::array out;
  mx::array logsumexp;
};

// No length is fixed in the graph: mx.compile(shapeless=True) may replay it with others.
SdpaOutputs sdpa_composite(const SdpaArrays& arrays, const SdpaProblem& problem, const SdpaOptions& options,
                           mx::Stream s);

}  // namespace fusedops::mlx
