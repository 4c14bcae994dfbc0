// What metal/gelu.metal is told beside its arrays. Shared by host and shader.
#pragma once

#include "elementwise_grid.h"
#include "gelu_form.h"
#include "row_layout.h"

struct GeluParameters {
  RowLayout x;
  ElementwiseGrid grid;
  int64_t bias_stride;
  int32_t bias_type;  // OperandType
  int32_t form;       // GeluFormNumber
};
