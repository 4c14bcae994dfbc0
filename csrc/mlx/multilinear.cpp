#include "mlx/multilinear.h"

#include "mlx/vmap.h"

namespace fusedops::mlx {
namespace {

Arrays arguments_of(const Arrays& inputs) { return Arrays(inputs.begin(), inputs.end() - 1); }

}  // namespace

mx::array Multilinear::node(std::shared_ptr<Multilinear> function, Arrays arguments, const mx::array& value) {
  arguments.push_back(mx::stop_gradient(value, function->stream()));
  return mx::array(value.shape(), value.dtype(), std::move(function), std::move(arguments));
}

void Multilinear::eval_cpu(const Arrays& inputs, Arrays& outputs) { outputs[0].copy_shared_buffer(inputs.back()); }

void Multilinear::eval_gpu(const Arrays& inputs, Arrays& outputs) { outputs[0].copy_shared_buffer(inputs.back()); }

std::vector<mx::Shape> Multilinear::output_shapes(const Arrays& inputs) { return {inputs.back().shape()}; }

Arrays Multilinear::vjp(const Arrays& primals, const Arrays& cotangents, const std::vector<int>& argnums,
                        const Arrays&) {
  const Arrays arguments = arguments_of(primals);
  Arrays gradients;
  for (int argnum : argnums) {
    const mx::array& argument = arguments.at(argnum);
    gradients.push_back(argument.dtype() == mx::bool_ ? mx::zeros_like(argument, stream())
                                                      : transpose(arguments, argnum, cotangents[0]));
  }
  return gradients;
}

Arrays Multilinear::jvp(const Arrays& primals, const Arrays& tangents, const std::vector<int>& argnums) {
  const Arrays arguments = arguments_of(primals);
  std::optional<mx::array> tangent;
  for (size_t i = 0; i < argnums.size(); ++i) {
    if (arguments.at(argnums[i]).dtype() == mx::bool_) continue;
    Arrays moved = arguments;
    moved[argnums[i]] = tangents[i];
    const mx::array part = apply(moved);
    tangent = tangent ? mx::add(*tangent, part, stream()) : part;
  }
  return {tangent ? *tangent : mx::zeros_like(primals.back(), stream())};
}

std::pair<Arrays, std::vector<int>> Multilinear::vmap(const Arrays& inputs, const std::vector<int>& axes) {
  Arrays arguments = arguments_of(inputs);
  const int extent = mapped_extent(inputs, axes);
  // The rules of transposition know no broadcasting of floating-point arguments, hence all are mapped in full.
  for (size_t i = 0; i < arguments.size(); ++i)
    arguments[i] = arguments[i].dtype() == mx::bool_ ? mapped_in_front(arguments[i], axes[i], stream())
                                                     : mapped_in_full(arguments[i], axes[i], extent, stream());
  return {{apply(arguments)}, {0}};
}

}  // namespace fusedops::mlx
