// How threadgroups share an array that is computed element by element. Shared by host and shader.
#pragma once

#ifndef __METAL_VERSION__
#include <cstdint>
#endif

struct ElementwiseGrid {
  int64_t rows;
  int64_t columns;
  int64_t tiles_per_row;
};
