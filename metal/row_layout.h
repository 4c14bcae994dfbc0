// Where the rows of a strided array lie, and how finely threads share them. Shared by host and shader.
#pragma once

#ifndef __METAL_VERSION__
#include <cstdint>
#endif

enum : int32_t {
  MAX_ROW_DIMENSIONS = 16,
  VECTOR_BYTES = 16,       // of the widest access
  VECTORS_PER_THREAD = 2,  // of a tile, see row_tiles.h
};

// Rows run along the last dimension; the others are collapsed where they are contiguous with one another. Strides are
// in elements and may be zero or negative.
struct RowLayout {
  int64_t extents[MAX_ROW_DIMENSIONS];  // innermost first
  int64_t strides[MAX_ROW_DIMENSIONS];
  int64_t column_stride;
  int32_t dimensions;
};
