// What metal/geglu.metal is told beside its arrays. Shared by host and shader.
#pragma once

#include "elementwise_grid.h"
#include "gelu_form.h"
#include "row_layout.h"

struct GegluParameters {
  RowLayout gate;
  RowLayout up;
  // In elements: where gate and up share an array, the first element of one follows the last of the other.
  int64_t gate_start;
  int64_t up_start;
  ElementwiseGrid grid;
  int32_t form;  // GeluFormNumber
};
