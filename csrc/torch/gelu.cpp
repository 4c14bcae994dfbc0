#include "ops/gelu.h"

#include "cpu/cpu.h"
#include "torch/operators.h"
#include "torch/stack.h"
#include "torch/threads.h"

namespace fusedops::torch {
namespace {

void gelu(StableIValue* stack, uint64_t, uint64_t) {
  const Tensor x = take_tensor(stack[0]);
  const std::optional<Tensor> bias = take_optional(stack[1], take_tensor);
  const int64_t form = take_int(stack[2]);

  const GeluProblem problem = gelu_problem(x.info(), info(bias), gelu_form(form));
  Tensor y = Tensor::empty(problem.output());
  cpu::gelu(problem, {.x = x.view(), .bias = view(bias), .y = y.mutable_data()}, threads());
  stack[0] = give(std::move(y));
}

}  // namespace

std::span<const Kernel> gelu_kernels() {
  static constexpr Kernel kernels[] = {{"gelu", gelu}, {"gelu_inference", gelu}};
  return kernels;
}

}  // namespace fusedops::torch
