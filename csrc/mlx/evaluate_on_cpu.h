// What a node of MLX's graph does on the CPU.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "core/aligned.h"
#include "cpu/outputs.h"
#include "mlx/allocate.h"
#include "mlx/arrays.h"
#include "mlx/backend/cpu/encoder.h"

namespace fusedops::mlx {

// Whether operators' own gradients are evaluated here, too.
inline constexpr bool has_backward_on_cpu = true;

// The inputs hold values only when the stream's own thread comes to the task.
template <class Operator>
void evaluate_on_cpu(const Operator& op, const Arrays& inputs, Arrays& outputs, mx::Stream stream) {
  auto& encoder = mx::cpu::get_command_encoder(stream);
  std::vector<ArrayView> sources;
  std::vector<void*> targets;
  for (const mx::array& input : inputs) {
    encoder.set_input_array(input);
    sources.push_back(view_of(input));
  }
  for (mx::array& output : outputs) {
    allocate(output);
    cpu::prepare_output(output.data<char>(), static_cast<int64_t>(output.nbytes()));
    encoder.set_output_array(output);
    targets.push_back(output.data<char>());
  }
  encoder.dispatch([op, problem = op.problem(inputs), sources = std::move(sources), targets = std::move(targets)] {
    std::vector<std::unique_ptr<std::byte[]>> copies(sources.size());
    std::vector<ArrayView> views;
    for (size_t i = 0; i < sources.size(); ++i) views.push_back(aligned(sources[i], copies[i]));
    op.run_on_cpu(problem, views, targets);
  });
}

}  // namespace fusedops::mlx
