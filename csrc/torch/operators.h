// The CPU and MPS kernels of the operators in torch.ops.fusedops. Their schemas are in python/fusedops/backends/torch.
#pragma once

#include <span>
#include <vector>

#include "torch/shim.h"

namespace fusedops::torch {

struct Kernel {
  const char* operator_name;
  BoxedFunction on_cpu;
  BoxedFunction on_mps;  // null: torch's own operators compute it there
};

std::span<const Kernel> geglu_kernels();
std::span<const Kernel> geglu_backward_kernels();
std::span<const Kernel> gelu_kernels();
std::span<const Kernel> gelu_backward_kernels();
std::span<const Kernel> rms_norm_kernels();
std::span<const Kernel> rms_norm_backward_kernels();
std::span<const Kernel> sdpa_kernels();
std::span<const Kernel> sdpa_varlen_kernels();

std::vector<Kernel> all_kernels();

}  // namespace fusedops::torch
