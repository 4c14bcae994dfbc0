#include "ops/rms_norm.h"

#include <algorithm>
#include <cmath>

#include "cpu/cpu.h"
#include "mlx/backward.h"
#include "mlx/vmap.h"

namespace fusedops::mlx {
namespace {

// The inputs are x, then weight and residual as far as they are there.
struct RmsNorm {
  static constexpr const char* name = "FusedRmsNorm";
  double eps;
  double weight_offset;
  bool has_weight;
  bool has_residual;

  bool operator==(const RmsNorm&) const = default;

  size_t residual_index() const { return has_weight ? 2 : 1; }

  RmsNormProblem problem(const Arrays& inputs) const {
    return rms_norm_problem(info_of(inputs[0]), optional_info(inputs, has_weight, 1),
                            optional_info(inputs, has_residual, residual_index()), eps, weight_offset);
  }

  size_t input_count() const { return 1 + has_weight + has_residual; }
  std::vector<bool> present() const { return {true, has_weight, has_residual}; }

  std::vector<ArrayInfo> outputs(const RmsNormProblem& problem) const {
    std::vector<ArrayInfo> outputs{problem.output()};
    if (has_residual) outputs.push_back(problem.sum());
    return outputs;
  }

  void run_on_cpu(const RmsNormProblem& problem, const std::vector<ArrayView>& inputs,
                  const std::vector<void*>& outputs) const {
    const cpu::RmsNormBuffers buffers{
        inputs[0],  optional_input(inputs, has_weight, 1), optional_input(inputs, has_residual, residual_index()),
        outputs[0], has_residual ? outputs[1] : nullptr,   nullptr};
    cpu::rms_norm(problem, buffers, cpu::own_threads());
  }

  Plan plan(const RmsNormProblem& problem, const std::vector<ArrayView>& inputs) const {
    return rms_norm_plan(problem, inputs[0], optional_input(inputs, has_weight, 1),
                         optional_input(inputs, has_residual, residual_index()), false);
  }

  // x / rms(x), of x times a power of two that brings the row, or what eps adds, near 1. So float32 holds the squares
  // of any row, and what derivatives are made of: the cube of the reciprocal RMS, and its fifth power.
  mx::array normalize(const mx::array& x, mx::Stream s) const {
    if (x.shape(-1) == 0) return x;  // there may be more rows than memory holds numbers
    const mx::array least(std::max(static_cast<float>(std::sqrt(eps)), 0x1p-126f)), most(0x1p126f);
    const mx::array magnitude = mx::max(mx::abs(mx::stop_gradient(x, s), s), -1, true, s);
    const mx::array exponent = mx::floor(mx::log2(mx::minimum(mx::maximum(magnitude, least, s), most, s), s), s);
    const mx::array power = mx::power(mx::array(2.f), mx::negative(exponent, s), s);
    const mx::array scaled = mx::multiply(x, power, s);
    const mx::array mean_square = mx::mean(mx::square(scaled, s), -1, true, s);
    const mx::array epsilon = mx::multiply(mx::multiply(mx::array(static_cast<float>(eps)), power, s), power, s);
    return mx::multiply(scaled, mx::rsqrt(mx::add(mean_square, epsilon, s), s), s);
  }

  // The weight may have leading dimensions, as a mapped one has.
  Arrays composite(const Arrays& inputs, mx::Stream s) const {
    const mx::array sum = has_residual ? mx::add(inputs[0], inputs[residual_index()], s) : inputs[0];
    const mx::array normalised = normalize(mx::astype(sum, mx::float32, s), s);
    const mx::array offset(static_cast<float>(weight_offset)), one(1.f);
    const mx::array factor = mx::add(has_weight ? mx::astype(inputs[1], mx::float32, s) : one, offset, s);
    Arrays outputs{mx::astype(mx::multiply(normalised, factor, s), inputs[0].dtype(), s)};
    if (has_residual) outputs.push_back(sum);
    return outputs;
  }

  Arrays vmap(Arrays inputs, const std::vector<int>& axes, mx::Stream s) const {
    const int extent = mapped_extent(inputs, axes);
    const bool weight_is_mapped = has_weight && axes[1] >= 0;
    for (size_t i = 0; i < inputs.size(); ++i)
      if (!has_weight || i != 1) inputs[i] = mapped_in_full(inputs[i], axes[i], extent, s);
    if (!weight_is_mapped) return apply(*this, inputs, s);
    inputs[1] = mapped_row(inputs[1], axes[1], inputs[0].ndim(), s);
    return composite(inputs, s);
  }

  Arrays backward(const Arrays& inputs, const Arrays& cotangents, const Arrays& outputs, mx::Stream s) const;
};

// Of the norm without a residual, whose x is what was normalised: the sum where there was a residual, which may be
// float32 where y is not. Behind the cotangent of y there may be one of the sum itself.
struct RmsNormBackward : BackwardOf<RmsNorm> {
  static constexpr const char* name = "FusedRmsNormBackward";
  bool has_grad_sum;

  bool operator==(const RmsNormBackward&) const = default;

  RmsNormProblem problem(const Arrays& inputs) const {
    return rms_norm_backward_problem(info_of(inputs[0]), optional_info(inputs, forward.has_weight, 1),
                                     info_of(inputs[forward.input_count()]), forward.eps, forward.weight_offset);
  }

  std::vector<ArrayInfo> outputs(const RmsNormProblem& problem) const {
    std::vector<ArrayInfo> gradients{problem.sum()};
    if (forward.has_weight) gradients.push_back({*problem.weight_dtype, {problem.columns}});
    return gradients;
  }

  void run_on_cpu(const RmsNormProblem& problem, const std::vector<ArrayView>& inputs,
                  const std::vector<void*>& outputs) const {
    const size_t grad_y = forward.input_count();
    const cpu::RmsNormBackwardBuffers buffers{.sum = inputs[0],
                                              .weight = optional_input(inputs, forward.has_weight, 1),
                                              .grad_y = inputs[grad_y],
                                              .grad_reciprocal_rms = std::nullopt,
                                              .grad_sum = optional_input(inputs, has_grad_sum, grad_y + 1),
                                              .grad_x = outputs[0],
                                              .grad_weight = forward.has_weight ? outputs[1] : nullptr};
    cpu::rms_norm_backward(problem, buffers, cpu::own_threads());
  }

  Arrays composite(const Arrays& inputs, mx::Stream s) const {
    Arrays own(inputs.begin(), inputs.end() - has_grad_sum);
    own.back() = mx::astype(own.back(), inputs[0].dtype(), s);  // as the composite's y
    Arrays gradients = BackwardOf::composite(own, s);
    if (has_grad_sum) gradients[0] = mx::add(gradients[0], inputs.back(), s);
    return gradients;
  }

  Arrays vmap(const Arrays& inputs, const std::vector<int>& axes, mx::Stream s) const {
    return vmap_of([this, s](const Arrays& x) { return composite(x, s); }, inputs, axes);
  }
};

Arrays RmsNorm::backward(const Arrays& inputs, const Arrays& cotangents, const Arrays& outputs, mx::Stream s) const {
  RmsNorm norm = *this;
  norm.has_residual = false;
  Arrays normalised(inputs.begin(), inputs.begin() + norm.input_count());
  if (has_residual) normalised[0] = outputs[1];
  Arrays gradients = apply(RmsNormBackward{{norm}, has_residual}, concatenated(normalised, cotangents), s);
  if (has_residual) {
    gradients.push_back(gradients[0]);
    gradients[0] = mx::astype(gradients[0], inputs[0].dtype(), s);
  }
  return gradients;
}

}  // namespace

Arrays rms_norm(const mx::array& x, const OptionalArray& weight, const OptionalArray& residual, double eps,
                double weight_offset, Path path) {
  Arrays inputs{x};
  if (weight) inputs.push_back(*weight);
  if (residual) inputs.push_back(*residual);
  const RmsNorm op{eps, weight_offset, weight.has_value(), residual.has_value()};
  return apply(op, std::move(inputs), mx::default_stream(mx::default_device()), path);
}

}  // namespace fusedops::mlx
