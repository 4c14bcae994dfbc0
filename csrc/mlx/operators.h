// The operators on MLX arrays: lazy, on the default stream of the current thread.
#pragma once

#include <string_view>

#include "mlx/arrays.h"
#include "ops/sdpa.h"

namespace fusedops::mlx {

// `composite` builds the operators from MLX's own also where there is a kernel: what derivatives and GPUs without Metal
// use.
enum class Path { kernel, composite };

// {y}, or {y, x + residual} with a residual.
Arrays rms_norm(const mx::array& x, const OptionalArray& weight, const OptionalArray& residual, double eps,
                double weight_offset, Path path);

mx::array gelu(const mx::array& x, const OptionalArray& bias, std::string_view approximate, Path path);

mx::array geglu(const mx::array& gate, const OptionalArray& up, std::string_view approximate, bool gate_first,
                Path path);

// {out}, or {out, logsumexp}.
Arrays sdpa(const mx::array& q, const mx::array& k, const mx::array& v, const OptionalArray& mask,
            const OptionalArray& sinks, const SdpaOptions& options, bool return_logsumexp, Path path);

// {out}, or {out, logsumexp}.
Arrays sdpa_varlen(const mx::array& q, const mx::array& k, const mx::array& v, const mx::array& cu_seqlens_q,
                   const mx::array& cu_seqlens_k, const OptionalArray& sinks, int64_t max_seqlen_q,
                   int64_t max_seqlen_k, const SdpaOptions& options, bool return_logsumexp, Path path);

}  // namespace fusedops::mlx
