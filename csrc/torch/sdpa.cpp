#include "ops/sdpa.h"

#include "cpu/cpu.h"
#include "torch/operators.h"
#include "torch/stack.h"
#include "torch/threads.h"

namespace fusedops::torch {
namespace {

enum class Returns : uint8_t { out, out_and_logsumexp };

template <Returns returns>
void sdpa(StableIValue* stack, uint64_t, uint64_t) {
  const Tensor q = take_tensor(stack[0]), k = take_tensor(stack[1]), v = take_tensor(stack[2]);
  const std::optional<Tensor> mask = take_optional(stack[3], take_tensor), sinks = take_optional(stack[4], take_tensor);
  const int64_t causal = take_int(stack[5]);
  const std::optional<double> scale = take_optional(stack[6], take_double);
  const std::optional<int64_t> window_left = take_optional(stack[7], take_int);
  const std::optional<int64_t> window_right = take_optional(stack[8], take_int);
  const std::optional<double> softcap = take_optional(stack[9], take_double);

  const SdpaOptions options{causal_from(causal), scale, window_left, window_right, softcap};
  const SdpaProblem problem = sdpa_problem(q.info(), k.info(), v.info(), info(mask), info(sinks), options);
  Tensor out = Tensor::empty(problem.output());
  std::optional<Tensor> logsumexp;
  if (returns == Returns::out_and_logsumexp) logsumexp = Tensor::empty(problem.logsumexp());

  const cpu::SdpaBuffers buffers = {
      .q = q.view(),
      .k = k.view(),
      .v = v.view(),
      .mask = view(mask),
      .sinks = view(sinks),
      .out = out.mutable_data(),
      .logsumexp = logsumexp ? static_cast<float*>(logsumexp->mutable_data()) : nullptr,
  };
  cpu::sdpa(problem, buffers, threads());

  stack[0] = give(std::move(out));
  if (logsumexp) stack[1] = give(std::move(*logsumexp));
}

}  // namespace

std::span<const Kernel> sdpa_kernels() {
  static constexpr Kernel kernels[] = {{"sdpa", sdpa<Returns::out_and_logsumexp>},
                                       {"sdpa_inference", sdpa<Returns::out>}};
  return kernels;
}

}  // namespace fusedops::torch
