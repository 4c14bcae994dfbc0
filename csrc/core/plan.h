// A Plan is data: what to allocate and what to launch. Operators make it, executors only carry it out,
// so that kernel choice and launch geometry can be tested on any machine (docs/design.md).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "core/array.h"

namespace fusedops {

enum class BufferRole : uint8_t { input, output, scratch };

struct Binding {
  BufferRole role;
  int index;  // within the operator's array arguments (absent ones count), Plan::outputs or Plan::scratch

  bool operator==(const Binding&) const = default;
};

struct Launch {
  std::string source;                           // metal/<source>.metal
  std::string kernel;                           // function template in it
  std::vector<std::string> template_arguments;  // instantiates it
  std::vector<Binding> buffers;                 // bound to [[buffer(0)]], [[buffer(1)]], ...
  std::vector<std::byte> parameters;            // bound after them; a struct shared by host and shader
  std::array<uint32_t, 3> threadgroups;
  std::array<uint32_t, 3> threads_per_threadgroup;

  // The instantiated kernel's name, unique for source, kernel and template arguments: the key of every cache.
  std::string name() const;
  // The whole text that a Metal compiler takes: the source and the instantiation.
  std::string text() const;

  bool operator==(const Launch&) const = default;
};

struct Plan {
  std::vector<ArrayInfo> outputs;
  std::vector<ArrayInfo> scratch;
  std::vector<Launch> launches;          // in order, each after those before it; none where every output is empty
  std::vector<std::string> description;  // in words, a line each; only plans that are made to be looked at have one

  bool operator==(const Plan&) const = default;
};

// Metal's limit for parameters passed by value.
inline constexpr size_t kMaxParameterBytes = 4096;

template <class Parameters>
std::vector<std::byte> bytes_of(const Parameters& parameters) {
  static_assert(std::is_trivially_copyable_v<Parameters> && sizeof(Parameters) <= kMaxParameterBytes);
  std::vector<std::byte> bytes(sizeof parameters);
  std::memcpy(bytes.data(), &parameters, sizeof parameters);
  return bytes;
}

// The element type's name in Metal.
std::string metal_type(DType dtype);

}  // namespace fusedops
