// A double of the MPS part of torch's C shim (torch/csrc/inductor/aoti_torch/c/shim_mps.h): its symbols, which hand
// every call to the functions that torch_mps.py installs. PASSES_BYTES says which of the ways to pass parameters there
// is: 0 none, 1 the C++ method that torch 2.10 to 2.13 export, 2 the C function of torch 2.14. With none, the method
// that tells a kernel's largest threadgroup is not there either.
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace torch::csrc::shim::details {
void set_torch_exception_what_without_backtrace(const std::string& message);  // in libtorch_cpu
}

using Block = void (*)(void* kernel, void* context);

struct Handlers {
  int32_t (*create_shader_library)(const char* source, void** library);
  int32_t (*get_kernel_function)(void* library, const char* name, void** kernel);
  int32_t (*run_command_block)(void* kernel, Block block, void* context);
  int32_t (*start_encoding)(void* kernel);
  int32_t (*set_arg_tensor)(void* kernel, unsigned index, void* tensor);
  int32_t (*set_arg_bytes)(void* kernel, unsigned index, const void* bytes, uint64_t size);
  int32_t (*dispatch)(void* kernel, const uint64_t* threads, size_t rank, const uint64_t* per_threadgroup,
                      size_t per_threadgroup_rank);
  int32_t (*max_threads)(void* kernel, uint64_t* threads);
};

static Handlers handlers;

extern "C" {

void double_install(const Handlers* functions) { handlers = *functions; }

void double_set_error(const char* message) {
  torch::csrc::shim::details::set_torch_exception_what_without_backtrace(message);
}

int32_t aoti_torch_mps_create_shader_library(const char* source, void** library) {
  return handlers.create_shader_library(source, library);
}

int32_t aoti_torch_mps_get_kernel_function(void* library, const char* name, void** kernel) {
  return handlers.get_kernel_function(library, name, kernel);
}

int32_t aoti_torch_mps_run_command_block(void* kernel, Block block, void* context) {
  return handlers.run_command_block(kernel, block, context);
}

int32_t aoti_torch_mps_start_encoding(void* kernel) { return handlers.start_encoding(kernel); }

int32_t aoti_torch_mps_set_arg_tensor(void* kernel, unsigned index, void* tensor) {
  return handlers.set_arg_tensor(kernel, index, tensor);
}

int32_t aoti_torch_mps_dispatch_array_with_group_size(void* kernel, const uint64_t* threads, size_t rank,
                                                      const uint64_t* per_threadgroup, size_t per_threadgroup_rank) {
  return handlers.dispatch(kernel, threads, rank, per_threadgroup, per_threadgroup_rank);
}

#if PASSES_BYTES == 2
int32_t torch_mps_set_arg_bytes(void* kernel, unsigned index, const void* bytes, uint64_t size) {
  return handlers.set_arg_bytes(kernel, index, bytes, size);
}
#elif PASSES_BYTES == 1
// at::native::mps::MetalKernelFunction::setArg(unsigned, const void*, unsigned long long)
void set_arg(void* kernel, unsigned index, const void* bytes,
             unsigned long long size) __asm__("_ZN2at6native3mps19MetalKernelFunction6setArgEjPKvy");
void set_arg(void* kernel, unsigned index, const void* bytes, unsigned long long size) {
  if (handlers.set_arg_bytes(kernel, index, bytes, size)) throw std::runtime_error("setArg failed");
}
#endif

#if PASSES_BYTES != 0
// at::native::mps::MetalKernelFunction::getMaxThreadsPerThreadgroup() const
unsigned long long max_threads(void* kernel) __asm__(
    "_ZNK2at6native3mps19MetalKernelFunction27getMaxThreadsPerThreadgroupEv");
unsigned long long max_threads(void* kernel) {
  uint64_t threads = 0;
  if (handlers.max_threads(kernel, &threads)) throw std::runtime_error("getMaxThreadsPerThreadgroup failed");
  return threads;
}
#endif

}  // extern "C"
