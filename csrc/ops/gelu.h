// gelu(x + bias), in three forms. Hendrycks & Gimpel 2016, https://arxiv.org/abs/1606.08415
#pragma once

#include <optional>
#include <string_view>

#include "core/array.h"
#include "core/plan.h"
#include "metal/gelu_form.h"

namespace fusedops {

enum class GeluForm : uint8_t {
  none = GELU_NONE,
  tanh = GELU_TANH,
  sigmoid = GELU_SIGMOID,
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

// How Metal computes it; of the arrays only their layout counts.
Plan gelu_plan(const GeluProblem& problem, const ArrayView& x, const std::optional<ArrayView>& bias);

}  // namespace fusedops
