// How an operator becomes a node of MLX's graph.
//
// An Operator is a value type: the parameters of a call without its arrays or their shapes, so that a graph can be
// replayed with arrays of other shapes. It has
//   static constexpr const char* name
//   bool operator==(const Operator&)                   over every parameter: mx.compile merges equal nodes
//   Problem problem(const Arrays& inputs)              validates
//   std::vector<ArrayInfo> outputs(const Problem&)
//   std::vector<bool> present()                        which of the operator's array arguments the inputs are
//   void run_on_cpu(const Problem&, const std::vector<ArrayView>& inputs, const std::vector<void*>& outputs)
//   Plan plan(const Problem&, const std::vector<ArrayView>& inputs)   how Metal computes it
//   Arrays composite(const Arrays& inputs, mx::Stream) the same function in MLX's own operators: where there is no
//                                                      kernel, and for derivatives
//   Arrays vmap(Arrays inputs, std::vector<int> axes, mx::Stream)   outputs with the mapped axis in front
// and where a kernel computes its gradients on the CPU
//   Arrays backward(const Arrays& inputs, const Arrays& cotangents, const Arrays& outputs, mx::Stream)   for every
//   input
// An operator without `plan` has a kernel on the CPU alone.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "mlx/arrays.h"
#include "mlx/evaluate_on_cpu.h"
#include "mlx/evaluate_on_metal.h"
#include "mlx/operators.h"
#include "mlx/ops.h"
#include "mlx/primitives.h"
#include "mlx/transforms.h"

namespace fusedops::mlx {

template <class Operator>
constexpr bool has_plan = requires { &Operator::plan; };

// Whether a kernel computes the operator there.
template <class Operator>
bool has_kernel(mx::Device device) {
  return device == mx::Device::cpu || (has_plan<Operator> && has_metal_kernels(device));
}

template <class Operator>
class FusedPrimitive final : public mx::Primitive {
 public:
  FusedPrimitive(mx::Stream stream, Operator op) : Primitive(stream), operator_(std::move(op)) {}

  const char* name() const override { return Operator::name; }

  bool is_equivalent(const mx::Primitive& other) const override {
    return operator_ == static_cast<const FusedPrimitive&>(other).operator_;
  }

  std::vector<mx::Shape> output_shapes(const Arrays& inputs) override {
    std::vector<mx::Shape> shapes;
    for (const ArrayInfo& output : operator_.outputs(operator_.problem(inputs))) shapes.push_back(to_mlx(output.shape));
    return shapes;
  }

  void eval_cpu(const Arrays& inputs, Arrays& outputs) override {
    evaluate_on_cpu(operator_, inputs, outputs, stream());
  }

  void eval_gpu(const Arrays& inputs, Arrays& outputs) override {
    if constexpr (has_plan<Operator>)
      evaluate_on_metal(operator_, inputs, outputs, stream());
    else
      throw std::runtime_error(std::string(name()) + " has no GPU kernel");
  }

  Arrays vjp(const Arrays& primals, const Arrays& cotangents, const std::vector<int>& argnums,
             const Arrays& outputs) override {
    const Arrays gradients = backward(primals, cotangents, outputs);
    Arrays wanted;
    for (int argnum : argnums) wanted.push_back(gradients[argnum]);
    return wanted;
  }

  // MLX passes one tangent for each entry of argnums.
  Arrays jvp(const Arrays& primals, const Arrays& tangents, const std::vector<int>& argnums) override {
    Arrays all_tangents;
    for (const mx::array& primal : primals) all_tangents.push_back(mx::zeros_like(primal, stream()));
    for (size_t i = 0; i < argnums.size(); ++i) all_tangents[argnums[i]] = tangents[i];
    return mx::jvp(composite(), primals, all_tangents).second;
  }

  std::pair<Arrays, std::vector<int>> vmap(const Arrays& inputs, const std::vector<int>& axes) override {
    Arrays outputs = operator_.vmap(inputs, axes, stream());
    return {outputs, std::vector<int>(outputs.size(), 0)};
  }

 private:
  Arrays backward(const Arrays& primals, const Arrays& cotangents, const Arrays& outputs) {
    if constexpr (has_backward_on_cpu && requires { &Operator::backward; })
      if (stream().device == mx::Device::cpu) return operator_.backward(primals, cotangents, outputs, stream());
    return mx::vjp(composite(), primals, cotangents).second;
  }

  std::function<Arrays(const Arrays&)> composite() {
    return [this](const Arrays& inputs) { return operator_.composite(inputs, stream()); };
  }

  Operator operator_;
};

// The operator's outputs as lazy arrays on `stream`. Throws ValueError or TypeError.
template <class Operator>
Arrays apply(const Operator& op, Arrays inputs, mx::Stream stream, Path path = Path::kernel) {
  const auto problem = op.problem(inputs);
  if (path == Path::composite || !has_kernel<Operator>(stream.device)) return op.composite(inputs, stream);
  std::vector<mx::Shape> shapes;
  std::vector<mx::Dtype> dtypes;
  for (const ArrayInfo& output : op.outputs(problem)) {
    shapes.push_back(to_mlx(output.shape));
    dtypes.push_back(to_mlx(output.dtype));
  }
  auto primitive = std::make_shared<FusedPrimitive<Operator>>(stream, op);
  if (shapes.size() == 1) return {mx::array(std::move(shapes[0]), dtypes[0], std::move(primitive), std::move(inputs))};
  return mx::array::make_arrays(std::move(shapes), dtypes, primitive, inputs);
}

}  // namespace fusedops::mlx
