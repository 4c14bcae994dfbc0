// The texts of metal/*.metal, their own headers included, as metal/embed.py wrote them into the build.
#pragma once

#include <string_view>
#include <vector>

namespace fusedops {

struct KernelSource {
  std::string_view name;  // of metal/<name>.metal
  std::string_view text;
};

const std::vector<KernelSource>& kernel_sources();

}  // namespace fusedops
