// The double of MLX's Metal device: see mlx_headers/mlx/backend/metal/device.h.
//
// What is encoded on the evaluating thread runs on the stream's own, where the inputs hold values: both times Python,
// with the simulator, is called, which works because MLX's Python functions release the GIL before they evaluate.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <cstring>
#include <mutex>
#include <stdexcept>
#include <unordered_map>

#include "mlx/backend/cpu/encoder.h"
#include "mlx/backend/metal/device.h"

namespace nb = nanobind;

namespace mlx::core::metal {
namespace {

// The caller holds the GIL.
template <class... Arguments>
nb::object call_simulator(const char* function, const Arguments&... arguments) {
  try {
    return nb::module_::import_("doubles.mlx_metal").attr(function)(arguments...);
  } catch (nb::python_error& error) {
    throw std::runtime_error(error.what());  // of an error on the stream's thread MLX hands on the message only
  }
}

size_t compile(const std::string& name, const std::string& text) {
  nb::gil_scoped_acquire gil;
  return nb::cast<size_t>(call_simulator("compile_kernel", name, text));
}

// {slot: (the buffer's address and size, the array's offset in it, whether the launch may write it)}
nb::dict described(const std::vector<BoundArray>& arrays) {
  nb::dict slots;
  for (const BoundArray& a : arrays)
    slots[nb::int_(a.slot)] =
        nb::make_tuple(reinterpret_cast<uintptr_t>(a.buffer), a.buffer_size, a.offset, a.is_output);
  return slots;
}

nb::tuple described(MTL::Size size) { return nb::make_tuple(size.width, size.height, size.depth); }

void run(const EncodedLaunch& launch) {
  nb::gil_scoped_acquire gil;
  call_simulator("run_kernel", launch.pipeline->name, described(launch.arrays), launch.parameter_slot,
                 nb::bytes(launch.parameters.data(), launch.parameters.size()), described(launch.threadgroups),
                 described(launch.threads_per_threadgroup));
}

}  // namespace

MTL::Library* Device::get_library(const std::string& name, const std::function<std::string()>& builder) {
  static std::mutex mutex;
  static std::unordered_map<std::string, MTL::Library> libraries;
  std::lock_guard lock(mutex);
  const std::string text = builder();
  const auto place = libraries.try_emplace(name, MTL::Library{text}).first;
  if (place->second.text != text) throw std::logic_error("two different libraries have the name " + name);
  return &place->second;
}

MTL::ComputePipelineState* Device::get_kernel(const std::string& name, MTL::Library* library) {
  const size_t most_threads = compile(name, library->text);
  static std::mutex mutex;
  static std::unordered_map<std::string, MTL::ComputePipelineState> pipelines;
  std::lock_guard lock(mutex);
  return &pipelines.insert_or_assign(name, MTL::ComputePipelineState{name, most_threads}).first->second;
}

Device& device(core::Device) {
  static Device device;
  return device;
}

void CommandEncoder::bind(const array& a, int slot, bool is_output) {
  char* buffer = static_cast<char*>(a.buffer().raw_ptr());
  launch_.arrays.push_back({slot, is_output, buffer, a.buffer_size(), a.offset(), a.data_shared_ptr()});
}

void CommandEncoder::set_input_array(const array& a, int slot) { bind(a, slot, false); }

void CommandEncoder::set_output_array(array& a, int slot) { bind(a, slot, true); }

void CommandEncoder::dispatch_threadgroups(MTL::Size threadgroups, MTL::Size threads_per_threadgroup) {
  launch_.threadgroups = threadgroups;
  launch_.threads_per_threadgroup = threads_per_threadgroup;
  launches_.push_back(std::exchange(launch_, {}));
}

void CommandEncoder::discard() {
  launches_.clear();
  temporaries_.clear();
}

void CommandEncoder::commit() {
  // Whoever allocated scratch has returned, so that it is gone unless it was made a temporary.
  std::vector<std::shared_ptr<array::Data>> owners;
  std::unordered_map<char*, size_t> outputs;
  for (const EncodedLaunch& launch : launches_)
    for (const BoundArray& a : launch.arrays) {
      owners.push_back(a.owner.lock());
      if (!owners.back()) throw std::logic_error(launch.pipeline->name + " uses an array that nothing keeps");
      if (a.is_output) outputs[a.buffer] = a.buffer_size;
    }
  cpu::get_command_encoder(stream_).dispatch([owners, outputs, launches = launches_] {
    for (auto [buffer, size] : outputs) std::memset(buffer, 0xff, size);  // NaN
    for (const EncodedLaunch& launch : launches) run(launch);
  });
  discard();
}

CommandEncoder& get_command_encoder(Stream stream) {
  static thread_local std::unordered_map<int, CommandEncoder> encoders;
  return encoders.try_emplace(stream.index, stream).first->second;
}

}  // namespace mlx::core::metal
