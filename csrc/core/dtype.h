// Element types, by the names that numpy, MLX and PyTorch share.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace fusedops {

// The operators compute on the first three. The rest exist so that an error can name what was passed.
enum class DType : uint8_t {
  float32,
  float16,
  bfloat16,
  boolean,
  float64,
  int8,
  int16,
  int32,
  int64,
  uint8,
  uint16,
  uint32,
  uint64,
  complex64,
  complex128,
  other,
};

inline bool is_floating(DType dtype) { return dtype <= DType::bfloat16; }

inline std::string_view name_of(DType dtype) {
  constexpr std::string_view names[] = {
      "float32", "float16", "bfloat16", "bool",   "float64", "int8",      "int16",      "int32",
      "int64",   "uint8",   "uint16",   "uint32", "uint64",  "complex64", "complex128", "an unknown dtype"};
  return names[static_cast<int>(dtype)];
}

inline DType dtype_from_name(std::string_view name) {
  for (int i = 0; i < static_cast<int>(DType::other); ++i)
    if (name_of(static_cast<DType>(i)) == name) return static_cast<DType>(i);
  return DType::other;
}

// Bytes per element.
inline int64_t size_of(DType dtype) {
  constexpr int64_t sizes[] = {4, 2, 2, 1, 8, 1, 2, 4, 8, 1, 2, 4, 8, 8, 16};
  if (dtype == DType::other) throw std::logic_error("the elements of an unknown dtype have no known size");
  return sizes[static_cast<int>(dtype)];
}

}  // namespace fusedops
