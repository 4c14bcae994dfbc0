// How the operators on rows are laid out for metal/row_tiles.h: rows, tiles of columns, threads.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "core/array.h"
#include "metal/elementwise_grid.h"
#include "metal/row_layout.h"

namespace fusedops {

// Where an array's rows lie. Throws ValueError where it has more dimensions than the kernels take.
RowLayout row_layout(std::string_view name, const ArrayView& array);

// Whether every row can be accessed 16 bytes at a time: its columns lie next to each other, its first one at a multiple
// of 16 bytes.
bool has_vector_rows(const ArrayView& array);
inline bool has_vector_rows(const std::optional<ArrayView>& array) { return !array || has_vector_rows(*array); }

// How many elements go in one access, as the kernels' template argument: as many as 16 bytes hold, or one.
std::string access_width(DType dtype, bool vectorized);

// An output: contiguous, and its first element at a multiple of 16 bytes.
ArrayView output_view(const ArrayInfo& output);

// A contiguous array as one row.
ArrayView flattened(const ArrayView& array);

struct RowGrid {
  int64_t rows;
  int64_t columns;
  int64_t tiles_per_row;
  std::array<uint32_t, 3> threadgroups;
  std::array<uint32_t, 3> threads_per_threadgroup;
};

// For an output that is computed row by row: every threadgroup takes one row, or a few short ones, with all its tiles.
RowGrid row_grid(const ArrayView& output);
// For an output that is computed element by element: every threadgroup takes one tile of one row, or of a few short
// ones.
RowGrid tiled_grid(const ArrayView& output);

// What the kernels of the latter are told of it.
ElementwiseGrid elementwise_grid(const RowGrid& grid);

}  // namespace fusedops
