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
      : gate(take_tensor(stack[0])),
        up(take_optional(stack[1], take_tensor)),
        form(take_int(stack[2])),
        gate_first(take_bool(stack[3])) {}

  GegluProblem problem() const { return geglu_problem(gate.info(), info(up), gelu_form(form), gate_first); }

  Tensor gate;
  std::optional<Tensor> up;
  int64_t form;
  bool gate_first;
};

void geglu_on_cpu(StableIValue* stack, uint64_t, uint64_t) {
  const Arguments arguments(stack);
  const Tensor& gate = arguments.gate;
  const GegluProblem problem = arguments.problem();
  Tensor y = gate.new_empty(problem.output());
  cpu::geglu(problem, {.gate = gate.view(), .up = view(arguments.up), .y = y.mutable_data()}, threads());
  stack[0] = give(std::move(y));
}

void geglu_on_mps(StableIValue* stack, uint64_t, uint64_t) {
  const Arguments arguments(stack);
  const Tensor& gate = arguments.gate;
  const Plan plan = geglu_plan(arguments.problem(), gate.layout(), layout(arguments.up));
  give_all(stack, mps::run(plan, {&gate, pointer_to(arguments.up)}));
}

}  // namespace

std::span<const Kernel> geglu_kernels() {
  static constexpr Kernel kernels[] = {{"geglu", geglu_on_cpu, geglu_on_mps},
                                       {"geglu_inference", geglu_on_cpu, geglu_on_mps}};
  return kernels;
}

}  // namespace fusedops::torch
