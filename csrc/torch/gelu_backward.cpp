#include "cpu/cpu.h"
#include "ops/checks.h"
#include "ops/gelu.h"
#include "torch/operators.h"
#include "torch/stack.h"
#include "torch/threads.h"

namespace fusedops::torch {
namespace {

struct Arguments {
  explicit Arguments(const StableIValue* stack) noexcept
      : grad_y(take_tensor(stack[0])),
        x(take_tensor(stack[1])),
        bias(take_optional(stack[2], take_tensor)),
        form(take_int(stack[3])) {}

  Tensor grad_y, x;
  std::optional<Tensor> bias;
  int64_t form;
};

void on_cpu(StableIValue* stack, uint64_t, uint64_t) {
  const Arguments arguments(stack);
  const auto& [grad_y, x, bias, form] = arguments;
  const GeluProblem problem = gelu_problem(x.info(), info(bias), gelu_form(form));
  checks::like("grad_y", grad_y.info(), "y", problem.output());
  Tensor grad_x = x.new_empty(problem.output());
  Tensor grad_bias = x.new_empty(bias ? bias->info() : ArrayInfo{x.info().dtype, {0}});
  cpu::gelu_backward(problem,
                     {.x = x.view(),
                      .bias = view(bias),
                      .grad_y = grad_y.view(),
                      .grad_x = grad_x.mutable_data(),
                      .grad_bias = grad_bias.mutable_data()},
                     threads());
  stack[0] = give(std::move(grad_x));
  stack[1] = give(std::move(grad_bias));
}

}  // namespace

std::span<const Kernel> gelu_backward_kernels() {
  static constexpr Kernel kernels[] = {{"gelu_backward", on_cpu, nullptr}};
  return kernels;
}

}  // namespace fusedops::torch
