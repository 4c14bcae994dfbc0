#include "ops/row_tiles.h"

#include <algorithm>
#include <bit>

#include "core/rows.h"
#include "ops/checks.h"

namespace fusedops {
namespace {

constexpr int64_t kSimdgroupThreads = 32;
// Enough threads to fill a threadgroup's SIMD-groups, few enough that several threadgroups share a GPU core: while one
// waits at a barrier or ends, the others keep memory busy.
constexpr int64_t kUsualThreads = 256;
constexpr int64_t kMaxThreads = 1024;  // Metal's limit
// The grid's first extent. PyTorch counts a grid's threads, which must be fewer than 2^32 in each dimension.
constexpr int64_t kMaxThreadgroups = int64_t{1} << 21;

int64_t elements_per_thread(DType dtype) { return VECTORS_PER_THREAD * VECTOR_BYTES / size_of(dtype); }

int64_t divide_up(int64_t dividend, int64_t divisor) { return (dividend + divisor - 1) / divisor; }

// Threads that share a row: as many as hold it in registers. Within a SIMD-group it is a power of two, since the lanes
// of a row exchange values by butterflies. Longer rows are cut into equal tiles, so that the last one does not leave
// threads idle.
int64_t threads_per_row(int64_t columns, int64_t elements, int64_t limit) {
  const int64_t tiles = std::max<int64_t>(divide_up(columns, limit * elements), 1);
  const int64_t threads = std::max<int64_t>(divide_up(divide_up(columns, tiles), elements), 1);
  if (threads <= kSimdgroupThreads) return std::bit_ceil(static_cast<uint64_t>(threads));
  return divide_up(threads, kSimdgroupThreads) * kSimdgroupThreads;
}

// `max_threads` for a row; `is_tiled`: whether the tiles of a row are the work of several threadgroups.
RowGrid grid_of(const ArrayView& output, int64_t max_threads, bool is_tiled) {
  const int64_t columns = column_count(output.shape);
  const int64_t rows = columns == 0 ? element_count(Shape(output.shape.begin(), output.shape.end() - 1))
                                    : element_count(output.shape) / columns;
  const int64_t elements = elements_per_thread(output.dtype);
  const int64_t threads = threads_per_row(columns, elements, max_threads);
  const int64_t tiles_per_row = divide_up(columns, threads * elements);
  const int64_t rows_at_once = std::max<int64_t>(kUsualThreads / threads, 1);
  const int64_t threadgroups = divide_up(rows, rows_at_once) * (is_tiled ? tiles_per_row : 1);
  const int64_t first_extent = std::min(threadgroups, kMaxThreadgroups);
  return {.rows = rows,
          .columns = columns,
          .tiles_per_row = tiles_per_row,
          .threadgroups = {static_cast<uint32_t>(first_extent),
                           static_cast<uint32_t>(divide_up(threadgroups, first_extent)), 1},
          .threads_per_threadgroup = {static_cast<uint32_t>(threads), static_cast<uint32_t>(rows_at_once), 1}};
}

}  // namespace

RowLayout row_layout(std::string_view name, const ArrayView& array) {
  const Rows rows(array);
  const size_t dimensions = rows.extents().size();
  if (dimensions > MAX_ROW_DIMENSIONS)
    checks::fail<ValueError>(name, " must have at most ", int{MAX_ROW_DIMENSIONS},
                             " dimensions before the last one that are not contiguous with one another, got ",
                             dimensions);
  RowLayout layout{};
  std::ranges::copy(rows.extents(), layout.extents);
  std::ranges::copy(rows.strides(), layout.strides);
  layout.column_stride = rows.column_stride();
  layout.dimensions = static_cast<int32_t>(dimensions);
  return layout;
}

bool has_vector_rows(const ArrayView& array) {
  const Rows rows(array);
  const int64_t elements = int64_t{VECTOR_BYTES} / size_of(array.dtype);
  return is_aligned(array, int64_t{VECTOR_BYTES}) && rows.column_stride() == 1 &&
         std::ranges::all_of(rows.strides(), [&](int64_t stride) { return stride % elements == 0; });
}

std::string access_width(DType dtype, bool vectorized) {
  return std::to_string(vectorized ? int64_t{VECTOR_BYTES} / size_of(dtype) : 1);
}

ArrayView output_view(const ArrayInfo& output) {
  return {nullptr, output.dtype, output.shape, contiguous_strides(output.shape)};
}

ArrayView flattened(const ArrayView& array) { return {array.data, array.dtype, {element_count(array.shape)}, {1}}; }

RowGrid row_grid(const ArrayView& output) { return grid_of(output, kMaxThreads, false); }

RowGrid tiled_grid(const ArrayView& output) { return grid_of(output, kUsualThreads, true); }

ElementwiseGrid elementwise_grid(const RowGrid& grid) {
  return {.rows = grid.rows, .columns = grid.columns, .tiles_per_row = grid.tiles_per_row};
}

}  // namespace fusedops
