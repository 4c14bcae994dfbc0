// Carries Plans out on a GPU, through MLX's Metal command encoder.
#pragma once

#include <vector>

#include "core/plan.h"
#include "mlx/arrays.h"
#include "mlx/device.h"
#include "mlx/stream.h"

namespace fusedops::mlx {

// Whether Metal kernels run on the device; MLX's other GPU backends have none of ours.
bool has_metal_kernels(mx::Device device);

// Encodes the plan's launches on a stream of the calling thread and gives the outputs their memory. The arguments are
// the operator's, each in its place: nothing where an optional one is absent.
void encode(const Plan& plan, const std::vector<OptionalArray>& arguments, Arrays& outputs, mx::Stream stream);

}  // namespace fusedops::mlx
