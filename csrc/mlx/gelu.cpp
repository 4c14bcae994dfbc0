#include "ops/gelu.h"

#include "cpu/cpu.h"
#include "mlx/backward.h"
#include "mlx/gelu_composite.h"
#include "mlx/vmap.h"

namespace fusedops::mlx {
namespace {

// The inputs are x and, if there is one, the bias.
struct Gelu {
  static constexpr const char* name = "FusedGelu";
  GeluForm form;
  bool has_bias;

  bool operator==(const Gelu&) const = default;

  GeluProblem problem(const Arrays& inputs) const {
    return gelu_problem(info_of(inputs[0]), optional_info(inputs, has_bias, 1), form);
  }

  size_t input_count() const { return has_bias ? 2 : 1; }
  std::vector<bool> present() const { return {true, has_bias}; }

  std::vector<ArrayInfo> outputs(const GeluProblem& problem) const { return {problem.output()}; }

  void run_on_cpu(const GeluProblem& problem, const std::vector<ArrayView>& inputs,
                  const std::vector<void*>& outputs) const {
    const cpu::GeluBuffers buffers{inputs[0], optional_input(inputs, has_bias, 1), outputs[0]};
    cpu::gelu(problem, buffers, cpu::own_threads());
  }

  Plan plan(const GeluProblem& problem, const std::vector<ArrayView>& inputs) const {
    return gelu_plan(problem, inputs[0], optional_input(inputs, has_bias, 1));
  }

  // The bias may have leading dimensions, as a mapped one has.
  Arrays composite(const Arrays& inputs, mx::Stream s) const {
    mx::array x = mx::astype(inputs[0], mx::float32, s);
    if (has_bias) x = mx::add(x, mx::astype(inputs[1], mx::float32, s), s);
    return {mx::astype(gelu_composite(x, form, s), inputs[0].dtype(), s)};
  }

  Arrays vmap(Arrays inputs, const std::vector<int>& axes, mx::Stream s) const {
    inputs[0] = mapped_in_full(inputs[0], axes[0], mapped_extent(inputs, axes), s);
    if (!has_bias || axes[1] < 0) return apply(*this, inputs, s);
    inputs[1] = mapped_row(inputs[1], axes[1], inputs[0].ndim(), s);
    return composite(inputs, s);
  }

  Arrays backward(const Arrays& inputs, const Arrays& cotangents, const Arrays& outputs, mx::Stream s) const;
};

struct GeluBackward : BackwardOf<Gelu> {
  static constexpr const char* name = "FusedGeluBackward";

  std::vector<ArrayInfo> outputs(const GeluProblem& problem) const {
    std::vector<ArrayInfo> gradients{problem.output()};
    if (forward.has_bias) gradients.push_back({*problem.bias_dtype, {problem.shape.back()}});
    return gradients;
  }

  void run_on_cpu(const GeluProblem& problem, const std::vector<ArrayView>& inputs,
                  const std::vector<void*>& outputs) const {
    const cpu::GeluBackwardBuffers buffers{inputs[0], optional_input(inputs, forward.has_bias, 1), inputs.back(),
                                           outputs[0], forward.has_bias ? outputs[1] : nullptr};
    cpu::gelu_backward(problem, buffers, cpu::own_threads());
  }
};

Arrays Gelu::backward(const Arrays& inputs, const Arrays& cotangents, const Arrays&, mx::Stream s) const {
  return apply(GeluBackward{{*this}}, concatenated(inputs, cotangents), s);
}

}  // namespace

mx::array gelu(const mx::array& x, const OptionalArray& bias, std::string_view approximate, Path path) {
  Arrays inputs{x};
  if (bias) inputs.push_back(*bias);
  const Gelu op{gelu_form(approximate), bias.has_value()};
  return apply(op, std::move(inputs), mx::default_stream(mx::default_device()), path)[0];
}

}  // namespace fusedops::mlx
