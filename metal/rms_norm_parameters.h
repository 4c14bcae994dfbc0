// What metal/rms_norm.metal is told beside its arrays. Shared by host and shader.
#pragma once

#include "row_layout.h"

struct RmsNormParameters {
  RowLayout x;
  RowLayout residual;
  int64_t rows;
  int64_t columns;
  int64_t tiles_per_row;
  int64_t weight_stride;
  int32_t weight_type;  // OperandType
  int32_t has_residual;
  int32_t with_reciprocal_rms;
  float reciprocal_columns;  // 1 / columns; finite where there are none
  float eps;
  float weight_offset;
};
