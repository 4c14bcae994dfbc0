#include "ops/geglu.h"

#include "cpu/cpu.h"
#include "torch/mps.h"
#include "torch/operators.h"
#include "torch/stack.h"
#include "torch/threads.h"

namespace fusedops::torch {
namespace {

struct Arguments {
  explicit Arguments(const StableIValue* stack) noexcept
      : gate(take_tensor(stack[0])), up(take_optional(stack[1], take_tensor)), form(take_int(stack[2])) {}

  GegluProblem problem() const { return geglu_problem(gate.info(), info(up), gelu_form(form)); }

  Tensor gate;
  std::optional<Tensor> up;
  int64_t form;
};

void geglu_on_cpu(StableIValue* stack, uint64_t, uint64_t) {
  const Arguments arguments(stack);
  const auto& [gate, up, form] = arguments;
  const GegluProblem problem = arguments.problem();
  Tensor y = gate.new_empty(problem.output());
  cpu::geglu(problem, {.gate = gate.view(), .up = view(up), .y = y.mutable_data()}, threads());
  stack[0] = give(std::move(y));
}

void geglu_on_mps(StableIValue* stack, uint64_t, uint64_t) {
  const Arguments arguments(stack);
  const auto& [gate, up, form] = arguments;
  const Plan plan = geglu_plan(arguments.problem(), gate.layout(), layout(up));
  give_all(stack, mps::run(plan, {&gate, pointer_to(up)}));
}

}  // namespace

std::span<const Kernel> geglu_kernels() {
  static constexpr Kernel kernels[] = {{"geglu", geglu_on_cpu, geglu_on_mps},
                                       {"geglu_inference", geglu_on_cpu, geglu_on_mps}};
  return kernels;
}

}  // namespace fusedops::torch
