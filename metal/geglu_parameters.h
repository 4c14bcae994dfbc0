// What metal/geglu.metal is told beside its arrays. Shared by host and shader.
#pragma once

#include "elementwise_grid.h"
#include "gelu_form.h"
#include "row_layout.h"

struct GegluParameters {
  RowLayout gate;
  RowLayout up;
  int64_t up_start;  // in elements; where gate and up share an array, up's first element follows gate's last
  ElementwiseGrid grid;
  int32_t form;  // GeluFormNumber
};
