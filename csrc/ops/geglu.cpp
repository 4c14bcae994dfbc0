#include "ops/geglu.h"

#include "ops/checks.h"

namespace fusedops {

GegluProblem geglu_problem(const ArrayInfo& gate, const std::optional<ArrayInfo>& up, GeluForm form) {
  checks::floating("gate", gate);
  checks::countable("gate", gate);
  Shape shape = gate.shape;
  if (up) {
    checks::same_dtype("up", *up, "gate", gate);
    checks::shape_is("up", *up, gate.shape, ", as gate has");
  } else {
    checks::has_dimensions("gate", gate);
    if (shape.back() % 2)
      checks::fail<ValueError>(
          "gate must have an even last dimension when up is None, since it holds both halves, got shape ",
          checks::to_string(shape));
    shape.back() /= 2;
  }
  return {.dtype = gate.dtype, .shape = std::move(shape), .form = form, .packed = !up};
}

ArrayView packed_up(ArrayView gate, int64_t columns) {
  gate.data = static_cast<const char*>(gate.data) + columns * gate.strides.back() * size_of(gate.dtype);
  gate.shape.back() = columns;
  return gate;
}

}  // namespace fusedops
