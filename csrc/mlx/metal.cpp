#include "mlx/metal.h"

#include <stdexcept>
#include <string>

#include "mlx/allocate.h"
#include "mlx/backend/metal/device.h"
#include "mlx/backend/metal/metal.h"

namespace fusedops::mlx {
namespace {

MTL::Size size_of(const std::array<uint32_t, 3>& extents) { return {extents[0], extents[1], extents[2]}; }

// Memory for the launches only. The encoder keeps it until they have run: MLX hands freed memory to the next array.
Arrays allocate_scratch(const Plan& plan, mx::metal::CommandEncoder& encoder) {
  Arrays scratch;
  for (const ArrayInfo& info : plan.scratch) {
    mx::array array(to_mlx(info.shape), to_mlx(info.dtype), nullptr, {});
    allocate(array);
    encoder.add_temporary(array);
    scratch.push_back(std::move(array));
  }
  return scratch;
}

// Compiled at first use. MLX locks its caches, which are one for the process: hence the prefix.
MTL::ComputePipelineState* pipeline_of(const Launch& launch, mx::metal::Device& device) {
  const std::string name = launch.name();
  MTL::Library* library = device.get_library("fusedops_" + name, [&] { return launch.text(); });
  return device.get_kernel(name, library);
}

// A kernel that needs many registers may run in smaller threadgroups only; Metal would not say so.
void check_threadgroup(const Launch& launch, const MTL::ComputePipelineState& pipeline) {
  const auto& [width, height, depth] = launch.threads_per_threadgroup;
  const size_t threads = size_t{width} * height * depth, most = pipeline.maxTotalThreadsPerThreadgroup();
  if (threads > most)
    throw std::runtime_error(launch.name() + " has " + std::to_string(threads) +
                             " threads in a threadgroup, of which this GPU can run " + std::to_string(most));
}

// Registers every array: the encoder lets launches overlap unless one reads what another writes. A binding does not
// tell whether scratch is read or written; to MLX an output is both.
void bind(const Launch& launch, const std::vector<OptionalArray>& arguments, Arrays& outputs, Arrays& scratch,
          mx::metal::CommandEncoder& encoder) {
  int slot = 0;
  for (const auto& [role, index] : launch.buffers) {
    if (role == BufferRole::input) {
      encoder.set_input_array(arguments[index].value(), slot);
    } else {
      encoder.set_output_array(role == BufferRole::output ? outputs[index] : scratch[index], slot);
    }
    ++slot;
  }
  if (!launch.parameters.empty()) encoder.set_bytes(launch.parameters.data(), int(launch.parameters.size()), slot);
}

}  // namespace

bool has_metal_kernels(mx::Device device) { return device == mx::Device::gpu && mx::metal::is_available(); }

void encode(const Plan& plan, const std::vector<OptionalArray>& arguments, Arrays& outputs, mx::Stream stream) {
  auto& device = mx::metal::device(stream.device);
  auto& encoder = mx::metal::get_command_encoder(stream);
  for (mx::array& output : outputs) allocate(output);
  Arrays scratch = allocate_scratch(plan, encoder);
  for (const Launch& launch : plan.launches) {
    MTL::ComputePipelineState* pipeline = pipeline_of(launch, device);
    check_threadgroup(launch, *pipeline);
    encoder.set_compute_pipeline_state(pipeline);
    bind(launch, arguments, outputs, scratch, encoder);
    encoder.dispatch_threadgroups(size_of(launch.threadgroups), size_of(launch.threads_per_threadgroup));
  }
}

}  // namespace fusedops::mlx
