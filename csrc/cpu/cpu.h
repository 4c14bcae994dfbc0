// The operators on the CPU. Inputs may have any strides; outputs are contiguous and may hold anything before.
// Every executor accumulates in float32 and rounds once to the output's dtype.
#pragma once

#include <optional>

#include "cpu/executor.h"
#include "ops/geglu.h"
#include "ops/gelu.h"
#include "ops/rms_norm.h"
#include "ops/sdpa_varlen.h"

namespace fusedops::cpu {

struct RmsNormBuffers {
  ArrayView x;
  std::optional<ArrayView> weight;
  std::optional<ArrayView> residual;
  void* y;
  void* sum;              // x + residual, in the problem's sum_dtype; null without a residual
  float* reciprocal_rms;  // one per row, or null
};
void rms_norm(const RmsNormProblem& problem, const RmsNormBuffers& buffers, Executor& executor);

struct RmsNormBackwardBuffers {
  ArrayView sum;  // what was normalised, in the problem's sum_dtype
  std::optional<ArrayView> weight;
  ArrayView grad_y;
  std::optional<ArrayView> grad_reciprocal_rms;  // of the rows' 1 / rms(x), where that is an output
  std::optional<ArrayView> grad_sum;             // where the sum is an output, its own; of its dtype
  void* grad_x;                                  // of what was normalised, in its dtype
  void* grad_weight;                             // in the weight's dtype; null without a weight
};
void rms_norm_backward(const RmsNormProblem& problem, const RmsNormBackwardBuffers& buffers, Executor& executor);

struct GeluBuffers {
  ArrayView x;
  std::optional<ArrayView> bias;
  void* y;
};
void gelu(const GeluProblem& problem, const GeluBuffers& buffers, Executor& executor);

struct GeluBackwardBuffers {
  ArrayView x;
  std::optional<ArrayView> bias;
  ArrayView grad_y;
  void* grad_x;
  void* grad_bias;  // in the bias's dtype; null without a bias
};
void gelu_backward(const GeluProblem& problem, const GeluBackwardBuffers& buffers, Executor& executor);

struct GegluBuffers {
  ArrayView gate;
  std::optional<ArrayView> up;  // absent: gate is packed
  void* y;
};
void geglu(const GegluProblem& problem, const GegluBuffers& buffers, Executor& executor);

struct GegluBackwardBuffers {
  ArrayView gate;
  std::optional<ArrayView> up;  // absent: gate is packed, and so is grad_gate
  ArrayView grad_y;
  void* grad_gate;
  void* grad_up;  // null where gate is packed
};
void geglu_backward(const GegluProblem& problem, const GegluBackwardBuffers& buffers, Executor& executor);

struct SdpaBuffers {
  ArrayView q;
  ArrayView k;
  ArrayView v;
  std::optional<ArrayView> mask;
  std::optional<ArrayView> sinks;
  void* out;
  float* logsumexp;  // or null
};
void sdpa(const SdpaProblem& problem, const SdpaBuffers& buffers, Executor& executor);

struct SdpaVarlenBuffers {
  ArrayView q;
  ArrayView k;
  ArrayView v;
  ArrayView cu_seqlens_q;
  ArrayView cu_seqlens_k;
  std::optional<ArrayView> sinks;
  void* out;
  float* logsumexp;  // or null
};
// Throws ValueError, before it writes anything, where the values of cu_seqlens do not fit.
void sdpa_varlen(const SdpaVarlenProblem& problem, const SdpaVarlenBuffers& buffers, Executor& executor);

// "amx_bf16", "avx512_bf16", "avx512", "avx2", "neon", "sse2", "generic" or "scalar": the instruction set chosen for
// this CPU at run time.
const char* instruction_set();

}  // namespace fusedops::cpu
