#include "ops/rms_norm.h"

#include "cpu/cpu.h"
#include "torch/mps.h"
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

  RmsNormProblem problem() const {
    return rms_norm_problem(x.info(), info(weight), info(residual), eps, weight_offset);
  }
};

Arguments take_rms_norm(const StableIValue* stack) noexcept {
  return {.x = take_tensor(stack[0]),
          .residual = std::nullopt,
          .weight = take_optional(stack[1], take_tensor),
          .eps = take_double(stack[2]),
          .weight_offset = take_double(stack[3])};
}

Arguments take_add_rms_norm(const StableIValue* stack) noexcept {
  return {.x = take_tensor(stack[0]),
          .residual = take_tensor(stack[1]),
          .weight = take_optional(stack[2], take_tensor),
          .eps = take_double(stack[3]),
          .weight_offset = take_double(stack[4])};
}

// What the schemas ask for beside y.
enum class Returns : uint8_t { y, y_and_reciprocal_rms };

// The outputs go to the front of the stack: y, then the sum where there is a residual, then reciprocal_rms.
template <auto take, Returns returns>
void on_cpu(StableIValue* stack, uint64_t, uint64_t) {
  const Arguments arguments = take(stack);
  const RmsNormProblem problem = arguments.problem();
  const Tensor& x = arguments.x;
  Tensor y = x.new_empty(problem.output());
  std::optional<Tensor> sum, reciprocal_rms;
  if (problem.has_residual) sum = x.new_empty(problem.sum());
  if (returns == Returns::y_and_reciprocal_rms) reciprocal_rms = x.new_empty(problem.reciprocal_rms());

  const cpu::RmsNormBuffers buffers = {
      .x = x.view(),
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

template <auto take, Returns returns>
void on_mps(StableIValue* stack, uint64_t, uint64_t) {
  const Arguments arguments = take(stack);
  const auto& [x, residual, weight, eps, weight_offset] = arguments;
  const Plan plan = rms_norm_plan(arguments.problem(), x.layout(), layout(weight), layout(residual),
                                  returns == Returns::y_and_reciprocal_rms);
  give_all(stack, mps::run(plan, {&x, pointer_to(weight), pointer_to(residual)}));
}

template <auto take, Returns returns>
constexpr Kernel kernel(const char* operator_name) {
  return {operator_name, on_cpu<take, returns>, on_mps<take, returns>};
}

}  // namespace

std::span<const Kernel> rms_norm_kernels() {
  static constexpr Kernel kernels[] = {
      kernel<take_rms_norm, Returns::y_and_reciprocal_rms>("rms_norm"),
      kernel<take_rms_norm, Returns::y>("rms_norm_inference"),
      kernel<take_add_rms_norm, Returns::y_and_reciprocal_rms>("add_rms_norm"),
      kernel<take_add_rms_norm, Returns::y>("add_rms_norm_inference"),
  };
  return kernels;
}

}  // namespace fusedops::torch
