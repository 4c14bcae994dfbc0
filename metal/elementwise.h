// Which tile of which row a thread works on, in kernels that compute element by element.
//
// A threadgroup's threads are (threads of a row, rows); it takes one tile of as many rows. Threadgroups are numbered
// along x first, then y, and the number runs through a row's tiles first. Contiguous arrays are one long row.
#pragma once

#include <metal_stdlib>

#include "elementwise_grid.h"
#include "row_tiles.h"

using namespace metal;

struct ElementwiseTile {
  long row;
  long start;  // its first column
  TilePart part;
};

template <typename T>
inline ElementwiseTile elementwise_tile(constant ElementwiseGrid& grid, uint2 threadgroup_position, uint2 threadgroups,
                                        uint2 thread_position, uint2 threads) {
  const long block = long(threadgroup_position.y) * threadgroups.x + threadgroup_position.x;
  const long row_block = quotient(block, grid.tiles_per_row);
  ElementwiseTile tile;
  tile.row = row_block * threads.y + thread_position.y;
  tile.start = (block - row_block * grid.tiles_per_row) * tile_columns<T>(threads.x);
  const long remaining = tile.row < grid.rows ? grid.columns - tile.start : 0;  // threads beyond the last row: nothing
  tile.part = {thread_position.x, threads.x, columns_in_tile<T>(remaining, threads.x)};
  return tile;
}

// Where a tile starts in an array, in elements.
template <int width>
inline long tile_offset(constant RowLayout& layout, ElementwiseTile tile) {
  return row_offset(layout, tile.row) + tile.start * known_stride<width>(layout.column_stride);
}
