#include "ops/rms_norm.h"

#include "cpu/cpu.h"
#include "torch/operators.h"
#include "torch/stack.h"
#include "torch/threads.h"

namespace fusedops::torch {
namespace {

struct Arguments {
  Tensor x;
  std::optional<Tensor> residual;
  std::optional<Tensor> weight;
  double eps;
  double weight_offset;
};

// What the schemas ask for beside y.
enum class Returns : uint8_t { y, y_and_reciprocal_rms };

// The outputs go to the front of the stack: y, then the sum where there is a residual, then reciprocal_rms.
void run(const Arguments& arguments, Returns returns, StableIValue* stack) {
  const RmsNormProblem problem = rms_norm_problem(arguments.x.info(), info(arguments.weight), info(arguments.residual),
                                                  arguments.eps, arguments.weight_offset);
  Tensor y = Tensor::empty(problem.output());
  std::optional<Tensor> sum, reciprocal_rms;
  if (problem.has_residual) sum = Tensor::empty(problem.output());
  if (returns == Returns::y_and_reciprocal_rms) reciprocal_rms = Tensor::empty(problem.reciprocal_rms());

  const cpu::RmsNormBuffers buffers = {
      .x = arguments.x.view(),
      .weight = view(arguments.weight),
      .residual = view(arguments.residual),
      .y = y.mutable_data(),
      .sum = sum ? sum->mutable_data() : nullptr,
      .reciprocal_rms = reciprocal_rms ? static_cast<float*>(reciprocal_rms->mutable_data()) : nullptr,
  };
  cpu::rms_norm(problem, buffers, threads());

  *stack++ = give(std::move(y));
  if (sum) *stack++ = give(std::move(*sum));
  if (reciprocal_rms) *stack++ = give(std::move(*reciprocal_rms));
}

template <Returns returns>
void rms_norm(StableIValue* stack, uint64_t, uint64_t) {
  run({.x = take_tensor(stack[0]),
       .residual = std::nullopt,
       .weight = take_optional(stack[1], take_tensor),
       .eps = take_double(stack[2]),
       .weight_offset = take_double(stack[3])},
      returns, stack);
}

template <Returns returns>
void add_rms_norm(StableIValue* stack, uint64_t, uint64_t) {
  run({.x = take_tensor(stack[0]),
       .residual = take_tensor(stack[1]),
       .weight = take_optional(stack[2], take_tensor),
       .eps = take_double(stack[3]),
       .weight_offset = take_double(stack[4])},
      returns, stack);
}

}  // namespace

std::span<const Kernel> rms_norm_kernels() {
  static constexpr Kernel kernels[] = {
      {"rms_norm", rms_norm<Returns::y_and_reciprocal_rms>},
      {"rms_norm_inference", rms_norm<Returns::y>},
      {"add_rms_norm", add_rms_norm<Returns::y_and_reciprocal_rms>},
      {"add_rms_norm_inference", add_rms_norm<Returns::y>},
  };
  return kernels;
}

}  // namespace fusedops::torch
