// Attention in MLX's own operators, in float32: what GPU streams without Metal run, and what MLX
// differentiates. Stores the scores.
#pragma once

#include "mlx/fused_primitive.h"
#include "ops/checks.h"
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

// Throws ValueError where an operator would run as a composite.
template <class Operator>
void check_deterministic(mx::Stream stream, Path path) {
  if (path == Path::composite || !has_kernel<Operator>(stream.device))
    checks::fail<ValueError>(
        "deterministic must be False where MLX's own operations compute attention: they do not treat all rows alike");
}

// No length is fixed in the graph: mx.compile(shapeless=True) may replay it with others.
SdpaOutputs sdpa_composite(const SdpaArrays& arrays, const SdpaProblem& problem, const SdpaOptions& options,
                           mx::Stream s);

}  // namespace fusedops::mlx
