#include "ops/gelu.h"

#include "cpu/cpu.h"
#include "torch/mps.h"
#include "torch/operators.h"
#include "torch/stack.h"
#include "torch/threads.h"

namespace fusedops::torch {
namespace {

struct Arguments {
  explicit Arguments(const StableIValue* stack) noexcept
      : x(take_tensor(stack[0])), bias(take_optional(stack[1], take_tensor)), form(take_int(stack[2])) {}

  GeluProblem problem() const { return gelu_problem(x.info(), info(bias), gelu_form(form)); }

  Tensor x;
  std::optional<Tensor> bias;
  int64_t form;
};

void gelu_on_cpu(StableIValue* stack, uint64_t, uint64_t) {
  const Arguments arguments(stack);
  const auto& [x, bias, form] = arguments;
  const GeluProblem problem = arguments.problem();
  Tensor y = x.new_empty(problem.output());
  cpu::gelu(problem, {.x = x.view(), .bias = view(bias), .y = y.mutable_data()}, threads());
  stack[0] = give(std::move(y));
}

void gelu_on_mps(StableIValue* stack, uint64_t, uint64_t) {
  const Arguments arguments(stack);
  const auto& [x, bias, form] = arguments;
  const Plan plan = gelu_plan(arguments.problem(), x.layout(), layout(bias));
  give_all(stack, mps::run(plan, {&x, pointer_to(bias)}));
}

}  // namespace

std::span<const Kernel> gelu_kernels() {
  static constexpr Kernel kernels[] = {{"gelu", gelu_on_cpu, gelu_on_mps},
                                       {"gelu_inference", gelu_on_cpu, gelu_on_mps}};
  return kernels;
}

}  // namespace fusedops::torch
