// Carries out plans on torch's MPS stream.
#pragma once

#include <initializer_list>
#include <vector>

#include "core/plan.h"
#include "torch/tensor.h"

namespace fusedops::torch::mps {

// An operator's array arguments in their order, null where absent. The first is there.
using Inputs = std::initializer_list<const Tensor*>;

// Returns the plan's outputs, on the inputs' device. The kernels are encoded, not waited for; later operators on the
// stream follow them. Throws TypeError where the inputs are on several devices, std::runtime_error where torch or
// Metal's compiler fails.
std::vector<Tensor> run(const Plan& plan, Inputs inputs);

}  // namespace fusedops::torch::mps
