#include "ops/geglu.h"

#include "cpu/cpu.h"
#include "torch/operators.h"
#include "torch/stack.h"
#include "torch/threads.h"

namespace fusedops::torch {
namespace {

void geglu(StableIValue* stack, uint64_t, uint64_t) {
  const Tensor gate = take_tensor(stack[0]);
  const std::optional<Tensor> up = take_optional(stack[1], take_tensor);
  const int64_t form = take_int(stack[2]);

  const GegluProblem problem = geglu_problem(gate.info(), info(up), gelu_form(form));
  Tensor y = Tensor::empty(problem.output());
  cpu::geglu(problem, {.gate = gate.view(), .up = view(up), .y = y.mutable_data()}, threads());
  stack[0] = give(std::move(y));
}

}  // namespace

std::span<const Kernel> geglu_kernels() {
  static constexpr Kernel kernels[] = {{"geglu", geglu}, {"geglu_inference", geglu}};
  return kernels;
}

}  // namespace fusedops::torch
