// gelu(x + bias), in three forms. Hendrycks & Gimpel 2016, https://arxiv.org/abs/1606.08415
#pragma once

#include <optional>
#include <string_view>

#include "core/array.h"

namespace fusedops {

enum class GeluForm : uint8_t {
  none,     // x * Phi(x), Phi by erf
  tanh,     // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
  sigmoid,  // x * sigmoid(1.702 x)
};

// `approximate` as PyTorch names the forms, and "sigmoid". Throws ValueError.
GeluForm gelu_form(std::string_view approximate);
// The form by its number, as PyTorch's operators take it. Throws ValueError.
GeluForm gelu_form(int64_t code);

struct GeluProblem {
  DType dtype;
  Shape shape;
  GeluForm form;
  std::optional<DType> bias_dtype;

  ArrayInfo output() const { return {dtype, shape}; }
};

// Throws ValueError or TypeError.
GeluProblem gelu_problem(const ArrayInfo& x, const std::optional<ArrayInfo>& bias, GeluForm form);

}  // namespace fusedops
