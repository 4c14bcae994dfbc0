// fusedops._torch: binds libtorch and registers the CPU and MPS kernels with its dispatcher.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <stdexcept>

#include "core/python_module.h"
#include "core/python_threads.h"
#include "torch/direct.h"
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

void register_kernels(BoxedFunction Kernel::* on_device, const std::string& dispatch_key) {
  LibraryHandle library = nullptr;  // never deleted: the registrations live as long as it does
  FUSEDOPS_TORCH_CALL(aoti_torch_library_init_impl, "fusedops", dispatch_key.c_str(), __FILE__, __LINE__, &library);
  for (const Kernel& kernel : all_kernels())
    if (kernel.*on_device)
      FUSEDOPS_TORCH_CALL(torch_library_impl, library, kernel.operator_name, kernel.*on_device, kAbiVersion);
}

void register_cpu_kernels(const std::string& dispatch_key) { register_kernels(&Kernel::on_cpu, dispatch_key); }

void register_mps_kernels(const std::string& dispatch_key) { register_kernels(&Kernel::on_mps, dispatch_key); }

// Torch makes a RuntimeError of whatever a kernel throws. So the exception itself is raised by the interpreter, before
// it runs the caller's next bytecode. Under torch.func that may be one which puts its levels back in order: there the
// call ends first.
void raise_if_interrupted() {
  const nb::gil_scoped_acquire gil;
  const nb::object transforms_active =
      nb::module_::import_("torch").attr("_C").attr("_are_functorch_transforms_active");
  if (nb::cast<bool>(transforms_active()) || !PyErr_CheckSignals()) return;
  const auto raise = [](void* argument) {
    const std::unique_ptr<nb::python_error> error(static_cast<nb::python_error*>(argument));
    error->restore();
    return -1;
  };
  auto error = std::make_unique<nb::python_error>();
  const std::string message = std::string("interrupted: ") + error->what();
  if (Py_AddPendingCall(raise, error.get()) == 0) error.release();
  throw std::runtime_error(message);
}

}  // namespace

std::vector<Kernel> all_kernels() {
  std::vector<Kernel> all;
  for (const auto& kernels : {geglu_kernels(), geglu_backward_kernels(), gelu_kernels(), gelu_backward_kernels(),
                              rms_norm_kernels(), rms_norm_backward_kernels(), sdpa_kernels(), sdpa_varlen_kernels()})
    all.insert(all.end(), kernels.begin(), kernels.end());
  return all;
}

}  // namespace fusedops::torch

FUSEDOPS_MODULE(_torch, module) {
  fusedops::let_signals_interrupt<fusedops::torch::raise_if_interrupted>();
  module.doc() = "The CPU and MPS kernels of torch.ops.fusedops.";
  module.def(
      "load", &fusedops::torch::load_or_raise, "libtorch_cpu"_a,
      "Resolves libtorch's C ABI in the given library, which must be loaded already. Raises ImportError where it is "
      "too old.");
  module.def(
      "has_mps", [] { return fusedops::torch::functions().has_mps; },
      "Whether the loaded torch can launch MPS kernels; says nothing of this machine.");
  module.def("register_cpu_kernels", &fusedops::torch::register_cpu_kernels, "dispatch_key"_a = "CPU",
             "Registers the CPU kernels. Call it once, after load() and after the operators were defined.");
  module.def("register_mps_kernels", &fusedops::torch::register_mps_kernels, "dispatch_key"_a = "MPS",
             "Registers the kernels that launch Metal's. As register_cpu_kernels(), and only where has_mps().");
  module.def(
      "set_up_direct_calls",
      [](nb::capsule exchange_api, std::vector<nb::object> tensor_types, std::vector<nb::object> tensor_checks,
         nb::object is_grad_enabled, nb::object empty_like, nb::object empty_contiguous_like) {
        return fusedops::torch::set_up_direct_calls({exchange_api, std::move(tensor_types), std::move(tensor_checks),
                                                     is_grad_enabled, empty_like, empty_contiguous_like});
      },
      "exchange_api"_a, "tensor_types"_a, "tensor_checks"_a, "is_grad_enabled"_a, "empty_like"_a,
      "empty_contiguous_like"_a,
      "Says what direct calls need of torch (see csrc/torch/direct.h). Returns whether there can be any.");
  module.def("direct_function", &fusedops::torch::direct_function, "kernel_name"_a, "types"_a, "outputs"_a,
             "thread_checks"_a,
             "A function that calls a CPU kernel without torch's dispatcher, or returns None where it cannot.");
}
