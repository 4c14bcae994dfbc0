#include "cpu/cpu.h"
#include "ops/checks.h"
#include "ops/geglu.h"
#include "torch/operators.h"
#include "torch/stack.h"
#include "torch/threads.h"

namespace fusedops::torch {
namespace {

struct Arguments {
  explicit Arguments(const StableIValue* stack) noexcept
      : grad_y(take_tensor(stack[0])),
        gate(take_tensor(stack[1])),
        up(take_optional(stack[2], take_tensor)),
        form(take_int(stack[3])),
        gate_first(take_bool(stack[4])) {}

  Tensor grad_y, gate;
  std::optional<Tensor> up;
  int64_t form;
  bool gate_first;
};

void on_cpu(StableIValue* stack, uint64_t, uint64_t) {
  const Arguments arguments(stack);
  const auto& [grad_y, gate, up, form, gate_first] = arguments;
  const GegluProblem problem = geglu_problem(gate.info(), info(up), gelu_form(form), gate_first);
  checks::like("grad_y", grad_y.info(), "y", problem.output());
  Tensor grad_gate = gate.new_empty(gate.info());
  Tensor grad_up = gate.new_empty(up ? up->info() : ArrayInfo{gate.info().dtype, {0}});
  cpu::geglu_backward(problem,
                      {.gate = gate.view(),
                       .up = view(up),
                       .grad_y = grad_y.view(),
                       .grad_gate = grad_gate.mutable_data(),
                       .grad_up = grad_up.mutable_data()},
                      threads());
  stack[0] = give(std::move(grad_gate));
  stack[1] = give(std::move(grad_up));
}

}  // namespace

std::span<const Kernel> geglu_backward_kernels() {
  static constexpr Kernel kernels[] = {{"geglu_backward", on_cpu, nullptr}};
  return kernels;
}

}  // namespace fusedops::torch
