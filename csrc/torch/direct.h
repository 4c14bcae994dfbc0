// Direct calls: from Python to an operator's CPU kernel without torch's dispatcher, which costs more than small
// operators do.
//
// A call is direct only where torch would do nothing but run the kernel: python/fusedops/backends/torch/direct.py says
// where that is.
#pragma once

#include <nanobind/nanobind.h>

#include <string>
#include <vector>

namespace fusedops::torch {

// What direct calls need of torch's Python side.
struct DirectCallSetup {
  nanobind::capsule exchange_api;               // torch.Tensor.__dlpack_c_exchange_api__
  std::vector<nanobind::object> tensor_types;   // exactly of these types are plain tensors
  std::vector<nanobind::object> tensor_checks;  // functions of a tensor; false for a plain one
  nanobind::object is_grad_enabled;
  nanobind::object empty_like;             // keeps strides
  nanobind::object empty_contiguous_like;  // takes longer
};

// Returns whether calls can be direct in this torch.
bool set_up_direct_calls(DirectCallSetup setup);

// A function of the kernel's arguments, whose types are given as in its schema. The thread checks are functions of
// nothing, false in a thread whose calls can be direct. It returns the output, or the tuple of
// them, or None where the call cannot be direct or fails: torch's dispatcher then knows what to do or to say.
nanobind::object direct_function(const std::string& kernel_name, const std::vector<std::string>& types, int outputs,
                                 std::vector<nanobind::object> thread_checks);

}  // namespace fusedops::torch
