#include "ops/geglu.h"

#include <utility>

#include "ops/checks.h"

namespace fusedops {

GegluProblem geglu_problem(const ArrayInfo& gate, const std::optional<ArrayInfo>& up, GeluForm form, bool gate_first) {
  checks::floating("gate", gate);
  checks::countable("gate", gate);
  Shape shape = gate.shape;
  if (up) {
    checks::same_dtype("up", *up, "gate", gate);
    checks::shape_is("up", *up, gate.shape, ", as gate has");
    if (!gate_first)
      checks::fail<ValueError>(
          "gate_first must be True where up is given: it orders the halves of one array, got False");
  } else {
    checks::has_dimensions("gate", gate);
    if (shape.back() % 2)
      checks::fail<ValueError>(
          "gate must have an even last dimension when up is None, since it holds both halves, got shape ",
          checks::to_string(shape));
    shape.back() /= 2;
  }
  return {.dtype = gate.dtype, .shape = std::move(shape), .form = form, .packed = !up, .gate_first = gate_first};
}

GegluHalves geglu_halves(const GegluProblem& problem, const ArrayView& gate, const std::optional<ArrayView>& up) {
  if (!problem.packed) return {gate, *up};
  ArrayView first = gate;
  first.shape = problem.shape;
  ArrayView second = first;
  second.data = static_cast<const char*>(first.data) + first.shape.back() * first.strides.back() * size_of(first.dtype);
  if (!problem.gate_first) std::swap(first, second);
  return {std::move(first), std::move(second)};
}

}  // namespace fusedops
