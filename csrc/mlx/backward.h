// The gradients of an operator as a node of MLX's graph, where there is a kernel that computes them: so far on the CPU.
// They are differentiated in turn through the operator's composite.
#pragma once

#include <utility>

#include "mlx/fused_primitive.h"

namespace fusedops::mlx {

inline Arrays vmap_of(const std::function<Arrays(const Arrays&)>& function, const Arrays& inputs,
                      const std::vector<int>& axes) {
  return mx::vmap(function, axes)(inputs);
}

// What FusedPrimitive wants of an Operator, but for its name, outputs and run_on_cpu. The inputs are those of
// `Forward`, the operator that is differentiated, then the cotangents of its outputs.
template <class Forward>
struct BackwardOf {
  Forward forward;

  bool operator==(const BackwardOf&) const = default;

  auto problem(const Arrays& inputs) const { return forward.problem(inputs); }

  Arrays composite(const Arrays& inputs, mx::Stream s) const {
    const auto cotangents = inputs.begin() + forward.input_count();
    const auto function = [this, s](const Arrays& primals) { return forward.composite(primals, s); };
    return mx::vjp(function, Arrays(inputs.begin(), cotangents), Arrays(cotangents, inputs.end())).second;
  }

  Arrays vmap(const Arrays& inputs, const std::vector<int>& axes, mx::Stream s) const {
    return vmap_of([this, s](const Arrays& x) { return composite(x, s); }, inputs, axes);
  }
};

inline Arrays concatenated(Arrays first, const Arrays& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

}  // namespace fusedops::mlx
