// The options that sdpa and sdpa_varlen have in common, as their schemas end with them.
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
  SdpaOptions options() const {
    return {causal_from(causal), scale, window_left, window_right, softcap, deterministic};
  }

  int64_t causal;
  std::optional<double> scale;
  std::optional<int64_t> window_left, window_right;
  std::optional<double> softcap;
  bool deterministic;
};

}  // namespace fusedops::torch
