// What calls of sdpa and sdpa_varlen have in common: the options that their schemas end with, and what they return.
#pragma once

#include "ops/sdpa.h"
#include "torch/stack.h"

namespace fusedops::torch {

struct SdpaOptionArguments {
  // `stack` begins with causal.
  explicit SdpaOptionArguments(const StableIValue* stack) noexcept
      : causal(take_int(stack[0])),
        scale(take_optional(stack[1], take_double)),
        window_left(take_optional(stack[2], take_int)),
        window_right(take_optional(stack[3], take_int)),
        softcap(take_optional(stack[4], take_double)),
        deterministic(take_bool(stack[5])) {}

  // Throws ValueError.
  SdpaOptions options() const { return sdpa_options(causal, scale, window_left, window_right, softcap, deterministic); }

  int64_t causal;
  std::optional<double> scale;
  std::optional<int64_t> window_left, window_right;
  std::optional<double> softcap;
  bool deterministic;
};

enum class Returns : uint8_t { out, out_and_logsumexp };

// New tensors for a CPU kernel's results.
struct SdpaOutputs {
  template <class Problem>
  SdpaOutputs(const Problem& problem, const Tensor& q, Returns returns) : out(q.new_empty(problem.output())) {
    if (returns == Returns::out_and_logsumexp) logsumexp = q.new_empty(problem.logsumexp());
  }

  float* logsumexp_data() { return logsumexp ? static_cast<float*>(logsumexp->mutable_data()) : nullptr; }

  void give_to(StableIValue* stack) && {
    stack[0] = give(std::move(out));
    if (logsumexp) stack[1] = give(std::move(*logsumexp));
  }

  Tensor out;
  std::optional<Tensor> logsumexp;
};

}  // namespace fusedops::torch
