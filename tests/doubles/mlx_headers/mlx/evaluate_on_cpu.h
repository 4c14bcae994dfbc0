// In place of csrc/mlx/evaluate_on_cpu.h: nodes on the CPU do what they would do on a GPU with Metal.
#pragma once

#include <stdexcept>
#include <string>

#include "mlx/backend/metal/device.h"
#include "mlx/evaluate_on_metal.h"

namespace fusedops::mlx {

inline constexpr bool has_backward_on_cpu = false;

template <class Operator>
void evaluate_on_cpu(const Operator& op, const Arrays& inputs, Arrays& outputs, mx::Stream stream) {
  auto& encoder = mx::metal::get_command_encoder(stream);
  encoder.discard();
  if constexpr (requires { &Operator::plan; })
    evaluate_on_metal(op, inputs, outputs, stream);
  else
    throw std::logic_error(std::string(Operator::name) + " has no Metal kernel");
  encoder.commit();
}

}  // namespace fusedops::mlx
