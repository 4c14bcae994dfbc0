// Functions that are linear in each of their floating-point arguments and bring their own derivatives.
//
// The value is computed by MLX's operators and passed through a node that knows its transpose, in place of the
// derivatives that MLX would take of those operators. (mx::custom_function does the same, but puts a part of its graph
// on the default stream.)
#pragma once

#include <memory>
#include <utility>

#include "mlx/arrays.h"
#include "mlx/ops.h"
#include "mlx/primitives.h"

namespace fusedops::mlx {

// The node's inputs are the arguments and, last, the value. An argument of dtype bool is not differentiated.
class Multilinear : public mx::Primitive {
 public:
  using Primitive::Primitive;

  // The function itself, as a new node.
  virtual mx::array apply(const Arrays& arguments) = 0;
  // The gradient of sum(cotangent * apply(arguments)) in one argument.
  virtual mx::array transpose(const Arrays& arguments, int argument, const mx::array& cotangent) = 0;

  void eval_cpu(const Arrays& inputs, Arrays& outputs) override;
  void eval_gpu(const Arrays& inputs, Arrays& outputs) override;
  std::vector<mx::Shape> output_shapes(const Arrays& inputs) override;
  Arrays vjp(const Arrays& primals, const Arrays& cotangents, const std::vector<int>& argnums, const Arrays&) override;
  Arrays jvp(const Arrays& primals, const Arrays& tangents, const std::vector<int>& argnums) override;
  std::pair<Arrays, std::vector<int>> vmap(const Arrays& inputs, const std::vector<int>& axes) override;

  static mx::array node(std::shared_ptr<Multilinear> function, Arrays arguments, const mx::array& value);
};

}  // namespace fusedops::mlx
