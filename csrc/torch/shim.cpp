#include "torch/shim.h"

#include <dlfcn.h>

#include <stdexcept>

namespace fusedops::torch {
namespace {

Functions loaded;

// Mangled as on macOS, where uint64_t is unsigned long long.
constexpr const char* kSetArgSymbol = "_ZN2at6native3mps19MetalKernelFunction6setArgEjPKvy";
constexpr const char* kMaxThreadsSymbol = "_ZNK2at6native3mps19MetalKernelFunction27getMaxThreadsPerThreadgroupEv";

// Fills in function pointers and remembers the first that was not there.
class Resolver {
 public:
  // On Linux libtorch's symbols are local to it, so that its own handle is needed; RTLD_NOLOAD never loads a second
  // one.
  explicit Resolver(const std::string& path) : handle_(dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL | RTLD_NOLOAD)) {}

  template <class Function>
  void optional(const char* name, Function*& function) {
    void* address = handle_ ? dlsym(handle_, name) : nullptr;
    if (!address) address = dlsym(RTLD_DEFAULT, name);
    function = reinterpret_cast<Function*>(address);
  }

  template <class Function>
  void required(const char* name, Function*& function) {
    optional(name, function);
    if (!function && missing_.empty()) missing_ = name;
  }

  const std::string& missing() const { return missing_; }

 private:
  void* handle_;
  std::string missing_;
};

}  // namespace

const Functions& functions() { return loaded; }

std::string load(const std::string& path) {
  Resolver resolver(path);
  Functions found;
#define FUSEDOPS_RESOLVE(result, name, parameters) resolver.required(#name, found.name);
  FUSEDOPS_TORCH_FUNCTIONS(FUSEDOPS_RESOLVE)
#undef FUSEDOPS_RESOLVE
#define FUSEDOPS_RESOLVE(result, name, parameters) resolver.optional(#name, found.name);
  FUSEDOPS_TORCH_OPTIONAL_FUNCTIONS(FUSEDOPS_RESOLVE)
#undef FUSEDOPS_RESOLVE
#define FUSEDOPS_RESOLVE(name) resolver.required("aoti_torch_dtype_" #name, found.aoti_torch_dtype_##name);
  FUSEDOPS_TORCH_DTYPES(FUSEDOPS_RESOLVE)
#undef FUSEDOPS_RESOLVE

  Resolver mps_resolver(path);
#define FUSEDOPS_RESOLVE(result, name, parameters) mps_resolver.required(#name, found.name);
  FUSEDOPS_TORCH_MPS_FUNCTIONS(FUSEDOPS_RESOLVE)
#undef FUSEDOPS_RESOLVE
  mps_resolver.optional(kSetArgSymbol, found.metal_kernel_function_set_arg);
  mps_resolver.optional(kMaxThreadsSymbol, found.metal_kernel_function_max_threads);
  found.has_mps = mps_resolver.missing().empty();

  if (resolver.missing().empty()) loaded = found;
  return resolver.missing();
}

void check(ErrorCode code, const char* function) {
  if (code == 0) return;
  std::string message = std::string(function) + " failed";
  if (loaded.torch_exception_get_what_without_backtrace)
    message += std::string(": ") + loaded.torch_exception_get_what_without_backtrace();
  throw std::runtime_error(message);
}

}  // namespace fusedops::torch
