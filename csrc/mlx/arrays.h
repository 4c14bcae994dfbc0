// MLX's arrays as the core sees them, and back.
#pragma once

#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/array.h"
#include "mlx/array.h"

namespace fusedops::mlx {

namespace mx = ::mlx::core;
using Arrays = std::vector<mx::array>;
using OptionalArray = std::optional<mx::array>;

inline DType dtype_of(const mx::array& array) {
  switch (array.dtype().val()) {
    case mx::Dtype::Val::float32:
      return DType::float32;
    case mx::Dtype::Val::float16:
      return DType::float16;
    case mx::Dtype::Val::bfloat16:
      return DType::bfloat16;
    case mx::Dtype::Val::bool_:
      return DType::boolean;
    case mx::Dtype::Val::float64:
      return DType::float64;
    case mx::Dtype::Val::int8:
      return DType::int8;
    case mx::Dtype::Val::int16:
      return DType::int16;
    case mx::Dtype::Val::int32:
      return DType::int32;
    case mx::Dtype::Val::int64:
      return DType::int64;
    case mx::Dtype::Val::uint8:
      return DType::uint8;
    case mx::Dtype::Val::uint16:
      return DType::uint16;
    case mx::Dtype::Val::uint32:
      return DType::uint32;
    case mx::Dtype::Val::uint64:
      return DType::uint64;
    case mx::Dtype::Val::complex64:
      return DType::complex64;
  }
  return DType::other;
}

inline ArrayInfo info_of(const mx::array& array) {
  return {dtype_of(array), Shape(array.shape().begin(), array.shape().end())};
}

// Of an array that is evaluated, or about to be when the view is read.
inline ArrayView view_of(const mx::array& array) {
  return {array.data<char>(), dtype_of(array), Shape(array.shape().begin(), array.shape().end()),
          Strides(array.strides().begin(), array.strides().end())};
}

// For the three dtypes that operators return.
inline mx::Dtype to_mlx(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return mx::float32;
    case DType::float16:
      return mx::float16;
    case DType::bfloat16:
      return mx::bfloat16;
    default:
      throw std::logic_error("operators do not return " + std::string(name_of(dtype)));
  }
}

inline mx::Shape to_mlx(const Shape& shape) { return mx::Shape(shape.begin(), shape.end()); }

// Operators hold optional inputs behind the others: inputs[index], if there is one.
template <class T>
std::optional<T> optional_input(const std::vector<T>& inputs, bool present, size_t index) {
  return present ? std::optional<T>(inputs[index]) : std::nullopt;
}

inline std::optional<ArrayInfo> optional_info(const Arrays& inputs, bool present, size_t index) {
  return present ? std::optional(info_of(inputs[index])) : std::nullopt;
}

// The inputs among all of an operator's array arguments, of which `present` tells those that are there.
inline std::vector<OptionalArray> in_place(const Arrays& inputs, const std::vector<bool>& present) {
  std::vector<OptionalArray> arguments;
  auto input = inputs.begin();
  for (bool is_present : present) arguments.push_back(is_present ? OptionalArray(*input++) : std::nullopt);
  return arguments;
}

}  // namespace fusedops::mlx
