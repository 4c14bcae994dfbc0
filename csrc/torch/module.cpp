// fusedops._torch: binds libtorch and registers the CPU kernels with its dispatcher.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include "torch/operators.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace fusedops::torch {
namespace {

void load_or_raise(const std::string& path) {
  const std::string missing = load(path);
  if (missing.empty()) return;
  throw nb::import_error(("fusedops needs torch 2.10 or newer. The torch that is loaded here (" + path + ") lacks " +
                          missing + ". To mend it: pip install --upgrade \"torch>=2.10\"")
                             .c_str());
}

void register_kernels() {
  LibraryHandle library = nullptr;  // never deleted: the registrations live as long as it does
  FUSEDOPS_TORCH_CALL(aoti_torch_library_init_impl, "fusedops", "CPU", __FILE__, __LINE__, &library);
  for (const auto& kernels : {geglu_kernels(), gelu_kernels(), rms_norm_kernels(), sdpa_kernels()})
    for (const Kernel& kernel : kernels)
      FUSEDOPS_TORCH_CALL(torch_library_impl, library, kernel.operator_name, kernel.function, kAbiVersion);
}

}  // namespace
}  // namespace fusedops::torch

NB_MODULE(_torch, module) {
  module.doc() = "The CPU kernels of torch.ops.fusedops.";
  module.def(
      "load", &fusedops::torch::load_or_raise, "libtorch_cpu"_a,
      "Resolves libtorch's C ABI in the given library, which must be loaded already. Raises ImportError where it is "
      "too old.");
  module.def("register_kernels", &fusedops::torch::register_kernels,
             "Registers the CPU kernels. Call it once, after load() and after the operators were defined.");
}
