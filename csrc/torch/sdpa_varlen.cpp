#include "ops/sdpa_varlen.h"

#include "cpu/cpu.h"
#include "torch/mps.h"
#include "torch/operators.h"
#include "torch/sdpa_call.h"
#include "torch/stack.h"
#include "torch/threads.h"

namespace fusedops::torch {
namespace {

struct Arguments {
  explicit Arguments(const StableIValue* stack) noexcept
      : q(take_tensor(stack[0])),
        k(take_tensor(stack[1])),
        v(take_tensor(stack[2])),
        cu_seqlens_q(take_tensor(stack[3])),
        cu_seqlens_k(take_tensor(stack[4])),
        sinks(take_optional(stack[5], take_tensor)),
        max_seqlen_q(take_int(stack[6])),
        max_seqlen_k(take_int(stack[7])),
        chosen(stack + 8) {}

  SdpaVarlenProblem problem() const {
    return sdpa_varlen_problem(q.info(), k.info(), v.info(), cu_seqlens_q.info(), cu_seqlens_k.info(), info(sinks),
                               max_seqlen_q, max_seqlen_k, chosen.options());
  }

  Tensor q, k, v, cu_seqlens_q, cu_seqlens_k;
  std::optional<Tensor> sinks;
  int64_t max_seqlen_q, max_seqlen_k;
  SdpaOptionArguments chosen;
};

template <Returns returns>
void on_cpu(StableIValue* stack, uint64_t, uint64_t) {
  const Arguments arguments(stack);
  const SdpaVarlenProblem problem = arguments.problem();
  SdpaOutputs outputs(problem, arguments.q, returns);
  const cpu::SdpaVarlenBuffers buffers = {
      .q = arguments.q.view(),
      .k = arguments.k.view(),
      .v = arguments.v.view(),
      .cu_seqlens_q = arguments.cu_seqlens_q.view(),
      .cu_seqlens_k = arguments.cu_seqlens_k.view(),
      .sinks = view(arguments.sinks),
      .out = outputs.out.mutable_data(),
      .logsumexp = outputs.logsumexp_data(),
  };
  cpu::sdpa_varlen(problem, buffers, threads());
  std::move(outputs).give_to(stack);
}

template <Returns returns>
void on_mps(StableIValue* stack, uint64_t, uint64_t) {
  const Arguments arguments(stack);
  const Tensor &q = arguments.q, &k = arguments.k, &v = arguments.v;
  const Tensor &cu_seqlens_q = arguments.cu_seqlens_q, &cu_seqlens_k = arguments.cu_seqlens_k;
  const std::optional<Tensor>& sinks = arguments.sinks;
  const Plan plan = sdpa_varlen_plan(arguments.problem(), q.layout(), k.layout(), v.layout(), cu_seqlens_q.layout(),
                                     cu_seqlens_k.layout(), layout(sinks), returns == Returns::out_and_logsumexp);
  give_all(stack, mps::run(plan, {&q, &k, &v, &cu_seqlens_q, &cu_seqlens_k, pointer_to(sinks)}));
}

template <Returns returns>
constexpr Kernel kernel(const char* operator_name) {
  return {operator_name, on_cpu<returns>, on_mps<returns>};
}

}  // namespace

std::span<const Kernel> sdpa_varlen_kernels() {
  static constexpr Kernel kernels[] = {kernel<Returns::out_and_logsumexp>("sdpa_varlen"),
                                       kernel<Returns::out>("sdpa_varlen_inference")};
  return kernels;
}

}  // namespace fusedops::torch
