// What a kernel parameter is bound to, in the order in which translate/ numbers the kinds.
#pragma once

enum MslKind : int {
  MSL_BUFFER,
  MSL_TGMEM,
  MSL_POS_GRID,
  MSL_POS_TG,
  MSL_TG_POS,
  MSL_TG_SIZE,
  MSL_GRID_SIZE,
  MSL_TGS_PER_GRID,
  MSL_IDX_TG,
  MSL_LANE,
  MSL_SIMD,
  MSL_NSIMD,
  MSL_SIMD_SIZE,
  MSL_QUAD_LANE,
  MSL_QUAD,
  MSL_KINDS,  // their number
};
