#include "torch/mps.h"

#include <exception>
#include <mutex>
#include <span>
#include <stdexcept>
#include <string>
#include <unordered_map>

#include "core/errors.h"

namespace fusedops::torch::mps {
namespace {

// Compiled kernels by Launch::name(). Each has a library of its own, since templates are instantiated by text. They
// live as long as the process.
class Kernels {
 public:
  KernelHandle find(const Launch& launch) {
    const std::string name = launch.name();
    KernelHandle& kernel = compiled_[name];
    if (!kernel) kernel = compile(name, launch.text());
    check_threadgroup(launch, kernel);
    return kernel;
  }

 private:
  static KernelHandle compile(const std::string& name, const std::string& text) {
    ShaderLibraryHandle library = nullptr;
    KernelHandle kernel = nullptr;
    FUSEDOPS_TORCH_CALL(aoti_torch_mps_create_shader_library, text.c_str(), &library);
    FUSEDOPS_TORCH_CALL(aoti_torch_mps_get_kernel_function, library, name.c_str(), &kernel);
    return kernel;
  }

  // A kernel that needs many registers may run in smaller threadgroups only; Metal would not say so.
  static void check_threadgroup(const Launch& launch, KernelHandle kernel) {
    if (!functions().metal_kernel_function_max_threads) return;
    const auto& [width, height, depth] = launch.threads_per_threadgroup;
    const uint64_t threads = uint64_t{width} * height * depth;
    const uint64_t most = functions().metal_kernel_function_max_threads(kernel);
    if (threads > most)
      throw std::runtime_error(launch.name() + " has " + std::to_string(threads) +
                               " threads in a threadgroup, of which this GPU can run " + std::to_string(most));
  }

  std::unordered_map<std::string, KernelHandle> compiled_;
};

// The tensors that a plan's bindings name.
class Buffers {
 public:
  Buffers(const Plan& plan, Inputs inputs)
      : inputs_(inputs), outputs_(allocate(plan.outputs)), scratch_(allocate(plan.scratch)) {
    for (const Tensor* input : inputs)
      if (input && input->device() != device()) throw TypeError("all tensors must be on one device");
  }

  TensorHandle at(Binding binding) const {
    switch (binding.role) {
      case BufferRole::input:
        return inputs_.at(binding.index)->handle();
      case BufferRole::output:
        return outputs_.at(binding.index).handle();
      default:
        return scratch_.at(binding.index).handle();
    }
  }

  std::vector<Tensor> take_outputs() { return std::move(outputs_); }

 private:
  Device device() const { return inputs_.front()->device(); }

  std::vector<Tensor> allocate(const std::vector<ArrayInfo>& arrays) const {
    std::vector<Tensor> tensors;
    for (const ArrayInfo& array : arrays) tensors.push_back(inputs_.front()->new_empty(array));
    return tensors;
  }

  std::vector<const Tensor*> inputs_;
  std::vector<Tensor> outputs_, scratch_;
};

void set_parameters(KernelHandle kernel, unsigned index, std::span<const std::byte> bytes) {
  if (functions().torch_mps_set_arg_bytes)
    FUSEDOPS_TORCH_CALL(torch_mps_set_arg_bytes, kernel, index, bytes.data(), bytes.size());
  else if (functions().metal_kernel_function_set_arg)
    functions().metal_kernel_function_set_arg(kernel, index, bytes.data(), bytes.size());
  else
    throw std::runtime_error(
        "this build of torch cannot pass parameters to Metal kernels. To mend it: pip install --upgrade "
        "\"torch>=2.14\"");
}

// Sets a kernel and its arguments on the stream's encoder. That is shared with everyone, so nothing set earlier counts.
void encode(const Launch& launch, KernelHandle kernel, const Buffers& buffers) {
  FUSEDOPS_TORCH_CALL(aoti_torch_mps_start_encoding, kernel);
  unsigned index = 0;
  for (const Binding& binding : launch.buffers)
    FUSEDOPS_TORCH_CALL(aoti_torch_mps_set_arg_tensor, kernel, index++, buffers.at(binding));
  if (!launch.parameters.empty()) set_parameters(kernel, index, launch.parameters);

  const auto& per_threadgroup = launch.threads_per_threadgroup;
  uint64_t threads[3], threads_per_threadgroup[3];
  for (int i = 0; i < 3; ++i) {
    threads_per_threadgroup[i] = per_threadgroup[i];
    threads[i] = uint64_t{launch.threadgroups[i]} * per_threadgroup[i];  // torch counts threads
  }
  FUSEDOPS_TORCH_CALL(aoti_torch_mps_dispatch_array_with_group_size, kernel, threads, 3, threads_per_threadgroup, 3);
}

// What a command block is told, and what it tells.
struct Commands {
  const std::vector<Launch>& launches;
  const std::vector<KernelHandle>& kernels;
  const Buffers& buffers;
  std::exception_ptr error;

  // Runs on the stream's queue, where nothing may throw through torch's C function.
  static void encode_all(KernelHandle, void* context) noexcept {
    auto& commands = *static_cast<Commands*>(context);
    try {
      for (size_t i = 0; i < commands.launches.size(); ++i)
        encode(commands.launches[i], commands.kernels[i], commands.buffers);
    } catch (...) {
      commands.error = std::current_exception();
    }
  }
};

}  // namespace

std::vector<Tensor> run(const Plan& plan, Inputs inputs) {
  Buffers buffers(plan, inputs);
  if (plan.launches.empty()) return buffers.take_outputs();

  // Torch's lookup of kernels is not thread-safe, and a kernel keeps the encoder that it is being encoded with: two
  // threads with a stream each must not encode the same kernel at once.
  static std::mutex& mutex = *new std::mutex;
  static Kernels& cache = *new Kernels;
  const std::lock_guard lock(mutex);
  std::vector<KernelHandle> kernels;
  for (const Launch& launch : plan.launches) kernels.push_back(cache.find(launch));

  // One block for all launches, because blocks do not nest; whose kernel it is given does not matter.
  Commands commands{plan.launches, kernels, buffers, nullptr};
  FUSEDOPS_TORCH_CALL(aoti_torch_mps_run_command_block, kernels.front(), Commands::encode_all, &commands);
  if (commands.error) std::rethrow_exception(commands.error);
  return buffers.take_outputs();
}

}  // namespace fusedops::torch::mps
