// A double of MLX's header of this name, which needs Apple's: as much of it as csrc/mlx/metal.cpp uses, with the same
// signatures. Kernels run in the simulator (mlx_metal.py); the rest is in mlx_metal.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mlx/array.h"
#include "mlx/device.h"
#include "mlx/stream.h"

namespace MTL {

struct Size {
  size_t width, height, depth;
};

struct Library {
  std::string text;
};

struct ComputePipelineState {
  std::string name;
  size_t most_threads;

  size_t maxTotalThreadsPerThreadgroup() const { return most_threads; }
};

}  // namespace MTL

namespace mlx::core::metal {

class Device {
 public:
  MTL::Library* get_library(const std::string& name, const std::function<std::string()>& builder);
  MTL::ComputePipelineState* get_kernel(const std::string& name, MTL::Library* library);
};

Device& device(core::Device);

// An array at a launch's slot, as it was registered.
struct BoundArray {
  int slot;
  bool is_output;
  char* buffer;
  size_t buffer_size;
  int64_t offset;
  std::weak_ptr<array::Data> owner;
};

struct EncodedLaunch {
  MTL::ComputePipelineState* pipeline = nullptr;
  std::vector<BoundArray> arrays;
  int parameter_slot = -1;
  std::string parameters;
  MTL::Size threadgroups{}, threads_per_threadgroup{};
};

// Metal keeps arrays bound from one launch to the next; here each launch must bind its own.
class CommandEncoder {
 public:
  explicit CommandEncoder(Stream stream) : stream_(stream) {}

  void set_compute_pipeline_state(MTL::ComputePipelineState* pipeline) { launch_.pipeline = pipeline; }
  void set_input_array(const array& a, int slot);
  void set_output_array(array& a, int slot);
  void add_temporary(array a) { temporaries_.push_back(std::move(a)); }
  void dispatch_threadgroups(MTL::Size threadgroups, MTL::Size threads_per_threadgroup);

  template <class T>
  void set_bytes(const T* values, int count, int slot) {
    launch_.parameters.assign(reinterpret_cast<const char*>(values), count * sizeof(T));
    launch_.parameter_slot = slot;
  }

  // Not MLX's: lets the stream's thread run the launches.
  void commit();
  // Not MLX's: forgets what an evaluation that failed has left.
  void discard();

 private:
  void bind(const array& a, int slot, bool is_output);

  Stream stream_;
  EncodedLaunch launch_;  // being encoded
  std::vector<EncodedLaunch> launches_;
  std::vector<array> temporaries_;
};

CommandEncoder& get_command_encoder(Stream stream);

}  // namespace mlx::core::metal
