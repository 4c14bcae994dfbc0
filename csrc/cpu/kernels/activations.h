// What GELU and GEGLU share: the loop over an array, and the choice of the form.
#pragma once

#include "cpu/kernels/gather.h"
#include "ops/gelu.h"

namespace fusedops::cpu::FUSEDOPS_ISA {

// Calls body with a GeluForm as a compile-time constant.
template <class Body>
void dispatch_form(GeluForm form, Body&& body) {
  if (form == GeluForm::none) return body.template operator()<GeluForm::none>();
  if (form == GeluForm::tanh) return body.template operator()<GeluForm::tanh>();
  body.template operator()<GeluForm::sigmoid>();
}

// The extents an elementwise operator runs over: one long row where its arrays are contiguous.
struct Extents {
  int64_t rows;
  int64_t columns;
};

inline Extents extents_of(const Shape& shape, bool one_row) {
  const int64_t count = element_count(shape);
  if (count == 0) return {0, column_count(shape)};
  if (one_row) return {1, count};
  return {count / column_count(shape), column_count(shape)};
}

}  // namespace fusedops::cpu::FUSEDOPS_ISA
