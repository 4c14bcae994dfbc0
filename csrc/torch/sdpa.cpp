#include "ops/sdpa.h"

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
        mask(take_optional(stack[3], take_tensor)),
        sinks(take_optional(stack[4], take_tensor)),
        chosen(stack + 5) {}

  SdpaProblem problem() const {
    return sdpa_problem(q.info(), k.info(), v.info(), info(mask), info(sinks), chosen.options());
  }

  Tensor q, k, v;
  std::optional<Tensor> mask, sinks;
  SdpaOptionArguments chosen;
};

template <Returns returns>
void on_cpu(StableIValue* stack, uint64_t, uint64_t) {
  const Arguments arguments(stack);
  const SdpaProblem problem = arguments.problem();
  SdpaOutputs outputs(problem, arguments.q, returns);
  const cpu::SdpaBuffers buffers = {
      .q = arguments.q.view(),
      .k = arguments.k.view(),
      .v = arguments.v.view(),
      .mask = view(arguments.mask),
      .sinks = view(arguments.sinks),
      .out = outputs.out.mutable_data(),
      .logsumexp = outputs.logsumexp_data(),
  };
  cpu::sdpa(problem, buffers, threads());
  std::move(outputs).give_to(stack);
}

template <Returns returns>
void on_mps(StableIValue* stack, uint64_t, uint64_t) {
  const Arguments arguments(stack);
  const Tensor &q = arguments.q, &k = arguments.k, &v = arguments.v;
  const std::optional<Tensor>&mask = arguments.mask, &sinks = arguments.sinks;
  const Plan plan = sdpa_plan(arguments.problem(), q.layout(), k.layout(), v.layout(), layout(mask), layout(sinks),
                              returns == Returns::out_and_logsumexp);
  give_all(stack, mps::run(plan, {&q, &k, &v, pointer_to(mask), pointer_to(sinks)}));
}

template <Returns returns>
constexpr Kernel kernel(const char* operator_name) {
  return {operator_name, on_cpu<returns>, on_mps<returns>};
}

}  // namespace

std::span<const Kernel> sdpa_kernels() {
  static constexpr Kernel kernels[] = {kernel<Returns::out_and_logsumexp>("sdpa"),
                                       kernel<Returns::out>("sdpa_inference")};
  return kernels;
}

}  // namespace fusedops::torch
