#include "cpu/cpu.h"
#include "ops/checks.h"
#include "ops/rms_norm.h"
#include "torch/operators.h"
#include "torch/stack.h"
#include "torch/threads.h"

namespace fusedops::torch {
namespace {

struct Arguments {
  explicit Arguments(const StableIValue* stack) noexcept
      : grad_y(take_tensor(stack[0])),
        grad_sum(take_optional(stack[1], take_tensor)),
        grad_reciprocal_rms(take_tensor(stack[2])),
        x(take_tensor(stack[3])),
        weight(take_optional(stack[4], take_tensor)),
        eps(take_double(stack[5])),
        weight_offset(take_double(stack[6])) {}

  Tensor grad_y;
  std::optional<Tensor> grad_sum;
  Tensor grad_reciprocal_rms, x;
  std::optional<Tensor> weight;
  double eps, weight_offset;
};

void on_cpu(StableIValue* stack, uint64_t, uint64_t) {
  const Arguments arguments(stack);
  const auto& [grad_y, grad_sum, grad_reciprocal_rms, x, weight, eps, weight_offset] = arguments;
  const RmsNormProblem problem = rms_norm_backward_problem(x.info(), info(weight), grad_y.info(), eps, weight_offset);
  if (grad_sum) checks::like("grad_sum", grad_sum->info(), "x", problem.sum());
  checks::like("grad_reciprocal_rms", grad_reciprocal_rms.info(), "reciprocal_rms", problem.reciprocal_rms());
  Tensor grad_x = x.new_empty(problem.sum());
  Tensor grad_weight = x.new_empty(weight ? weight->info() : ArrayInfo{x.info().dtype, {0}});
  cpu::rms_norm_backward(problem,
                         {.sum = x.view(),
                          .weight = view(weight),
                          .grad_y = grad_y.view(),
                          .grad_reciprocal_rms = grad_reciprocal_rms.view(),
                          .grad_sum = view(grad_sum),
                          .grad_x = grad_x.mutable_data(),
                          .grad_weight = grad_weight.mutable_data()},
                         threads());
  stack[0] = give(std::move(grad_x));
  stack[1] = give(std::move(grad_weight));
}

}  // namespace

std::span<const Kernel> rms_norm_backward_kernels() {
  static constexpr Kernel kernels[] = {{"rms_norm_backward", on_cpu, nullptr}};
  return kernels;
}

}  // namespace fusedops::torch
