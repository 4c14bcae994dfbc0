#include "ops/geglu.h"

#include <utility>

#include "cpu/cpu.h"
#include "mlx/backward.h"
#include "mlx/gelu_composite.h"
#include "mlx/vmap.h"

namespace fusedops::mlx {
namespace {

// The inputs are gate and, if gate does not hold both halves, up.
struct Geglu {
  static constexpr const char* name = "FusedGeglu";
  GeluForm form;
  bool packed;
  bool gate_first;

  bool operator==(const Geglu&) const = default;

  GegluProblem problem(const Arrays& inputs) const {
    return geglu_problem(info_of(inputs[0]), optional_info(inputs, !packed, 1), form, gate_first);
  }

  size_t input_count() const { return packed ? 1 : 2; }
  std::vector<bool> present() const { return {true, !packed}; }

  std::vector<ArrayInfo> outputs(const GegluProblem& problem) const { return {problem.output()}; }

  void run_on_cpu(const GegluProblem& problem, const std::vector<ArrayView>& inputs,
                  const std::vector<void*>& outputs) const {
    const cpu::GegluBuffers buffers{inputs[0], optional_input(inputs, !packed, 1), outputs[0]};
    cpu::geglu(problem, buffers, cpu::own_threads());
  }

  Plan plan(const GegluProblem& problem, const std::vector<ArrayView>& inputs) const {
    return geglu_plan(problem, inputs[0], optional_input(inputs, !packed, 1));
  }

  Arrays composite(const Arrays& inputs, mx::Stream s) const {
    Arrays halves = packed ? mx::split(inputs[0], 2, -1, s) : inputs;
    if (!gate_first) std::swap(halves[0], halves[1]);
    const mx::array gate = gelu_composite(mx::astype(halves[0], mx::float32, s), form, s);
    return {mx::astype(mx::multiply(gate, mx::astype(halves[1], mx::float32, s), s), inputs[0].dtype(), s)};
  }

  Arrays vmap(Arrays inputs, const std::vector<int>& axes, mx::Stream s) const {
    const int extent = mapped_extent(inputs, axes);
    for (size_t i = 0; i < inputs.size(); ++i) inputs[i] = mapped_in_full(inputs[i], axes[i], extent, s);
    return apply(*this, inputs, s);
  }

  Arrays backward(const Arrays& inputs, const Arrays& cotangents, const Arrays& outputs, mx::Stream s) const;
};

struct GegluBackward : BackwardOf<Geglu> {
  static constexpr const char* name = "FusedGegluBackward";

  std::vector<ArrayInfo> outputs(const GegluProblem& problem) const {
    if (!problem.packed) return {problem.output(), problem.output()};
    ArrayInfo both = problem.output();
    both.shape.back() *= 2;
    return {both};
  }

  void run_on_cpu(const GegluProblem& problem, const std::vector<ArrayView>& inputs,
                  const std::vector<void*>& outputs) const {
    const cpu::GegluBackwardBuffers buffers{inputs[0], optional_input(inputs, !problem.packed, 1), inputs.back(),
                                            outputs[0], problem.packed ? nullptr : outputs[1]};
    cpu::geglu_backward(problem, buffers, cpu::own_threads());
  }
};

Arrays Geglu::backward(const Arrays& inputs, const Arrays& cotangents, const Arrays&, mx::Stream s) const {
  return apply(GegluBackward{{*this}}, concatenated(inputs, cotangents), s);
}

}  // namespace

mx::array geglu(const mx::array& gate, const OptionalArray& up, std::string_view approximate, bool gate_first,
                Path path) {
  Arrays inputs{gate};
  if (up) inputs.push_back(*up);
  const Geglu op{gelu_form(approximate), !up, gate_first};
  return apply(op, std::move(inputs), mx::default_stream(mx::default_device()), path)[0];
}

}  // namespace fusedops::mlx
