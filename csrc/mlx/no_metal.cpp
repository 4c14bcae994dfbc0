// In place of metal.cpp where MLX is built without Metal.
#include <stdexcept>

#include "mlx/metal.h"

namespace fusedops::mlx {

bool has_metal_kernels(mx::Device) { return false; }

void encode(const Plan&, const std::vector<OptionalArray>&, Arrays&, mx::Stream) {
  throw std::logic_error("fusedops was built for an MLX without Metal");
}

}  // namespace fusedops::mlx
