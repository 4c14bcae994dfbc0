// A Plan is data: what to allocate and what to launch. Operators make it, executors only carry it out,
// so that kernel choice and launch geometry can be tested on any machine (docs/design.md).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/array.h"

namespace fusedops {

enum class BufferRole : uint8_t { input, output, scratch };

struct Binding {
  BufferRole role;
  int index;  // within the operator's inputs, its outputs, or Plan::scratch
};

struct Launch {
  std::string kernel;                           // function template in metal/
  std::vector<std::string> template_arguments;  // instantiates it; together with `kernel` the cache key
  std::vector<Binding> buffers;                 // bound to [[buffer(0)]], [[buffer(1)]], ...
  std::vector<std::byte> parameters;            // bound after them; a struct shared by host and shader
  std::array<uint32_t, 3> threadgroups;
  std::array<uint32_t, 3> threads_per_threadgroup;
};

struct Plan {
  std::vector<ArrayInfo> outputs;
  std::vector<ArrayInfo> scratch;
  std::vector<Launch> launches;
};

}  // namespace fusedops
