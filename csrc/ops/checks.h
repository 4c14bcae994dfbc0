// Words and tests that the operators' validation shares. Every message names the argument, what it should be
// and what it was.
#pragma once

#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>
#include <type_traits>

#include "core/array.h"
#include "core/errors.h"

namespace fusedops::checks {

// Without iostreams: where a process holds a second C++ runtime, as it does with torch's CUDA wheels, their number
// formatting crashes.
template <class Part>
std::string to_string(const Part& part) {
  if constexpr (std::is_integral_v<Part>) {
    return std::to_string(part);
  } else if constexpr (std::is_floating_point_v<Part>) {
    char text[32];
    std::snprintf(text, sizeof text, "%g", part);
    return text;
  } else {
    return std::string(part);
  }
}

inline std::string to_string(const Shape& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

template <class Error, class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  throw Error((to_string(parts) + ...));
}

inline void floating(std::string_view name, const ArrayInfo& array) {
  if (!is_floating(array.dtype))
    fail<TypeError>(name, " must be float32, float16 or bfloat16, got ", dtype_name(array));
}

inline void same_dtype(std::string_view name, const ArrayInfo& array, std::string_view other, const ArrayInfo& like) {
  if (array.dtype != like.dtype)
    fail<TypeError>(name, " must have ", other, "'s dtype, ", dtype_name(like), ", got ", dtype_name(array));
}

inline void shape_is(std::string_view name, const ArrayInfo& array, const Shape& expected, std::string_view meaning) {
  if (array.shape != expected)
    fail<ValueError>(name, " must have shape ", to_string(expected), meaning, ", got ", to_string(array.shape));
}

// Of the dtype and shape that `other` has.
inline void like(std::string_view name, const ArrayInfo& array, std::string_view other, const ArrayInfo& like) {
  same_dtype(name, array, other, like);
  shape_is(name, array, like.shape, ", as " + std::string(other) + " has");
}

inline void rank_is(std::string_view name, const ArrayInfo& array, size_t rank, std::string_view layout) {
  if (array.shape.size() != rank)
    fail<ValueError>(name, " must have ", rank, " dimensions ", layout, ", got shape ", to_string(array.shape));
}

// Views with strides of 0 have any number of elements; results need memory.
inline void countable(std::string_view name, const ArrayInfo& array) {
  if (element_count(array.shape) >= kTooManyElements)
    fail<ValueError>(name, " must have fewer than ", kTooManyElements, " elements, got shape ", to_string(array.shape));
}

inline void has_dimensions(std::string_view name, const ArrayInfo& array) {
  if (array.shape.empty()) fail<ValueError>(name, " must have at least one dimension, got a scalar");
}

// Numbers are checked as what kernels compute with: rounded to float32.
inline void finite(std::string_view name, double value) {
  if (!std::isfinite(value)) fail<ValueError>(name, " must be finite, got ", value);
  if (!std::isfinite(static_cast<float>(value))) fail<ValueError>(name, " must be finite in float32, got ", value);
}

inline void positive(std::string_view name, double value) {
  if (!(value > 0) || !std::isfinite(value)) fail<ValueError>(name, " must be finite and above 0, got ", value);
  const float rounded = static_cast<float>(value);
  if (!(rounded > 0) || !std::isfinite(rounded))
    fail<ValueError>(name, " must be finite and above 0 in float32, got ", value);
}

// Whether neither the number nor its reciprocal nor small multiples of them overflow, or are so small that some
// processors take them for 0, in float32.
inline bool is_moderate(double value) { return 0x1p-100 <= std::fabs(value) && std::fabs(value) <= 0x1p100; }

}  // namespace fusedops::checks
