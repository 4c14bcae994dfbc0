// Rows whose elements lie apart are brought together before they are computed on.
#pragma once

#include "cpu/kernels/scratch.h"
#include "cpu/kernels/simd.h"
#include "cpu/kernels/transpose.h"
#include "cpu/rows.h"

namespace fusedops::cpu::FUSEDOPS_ISA {

template <class T>
void gather(const T* source, int64_t stride, int64_t count, T* target) {
  for (int64_t i = 0; i < count; ++i) target[i] = source[i * stride];
}

// target[i] = float(row[i]) + offset, for a vector such as a weight or bias.
inline void widen_row(const ArrayView& row, float offset, float* target) {
  dispatch_dtype(row.dtype, [&]<class T>(const T*) {
    const int64_t count = row.shape[0];
    const auto* source = static_cast<const T*>(row.data);
    Scratch<T> gathered(row.strides[0] == 1 ? 0 : count);
    if (row.strides[0] != 1) {
      gather(source, row.strides[0], count, static_cast<T*>(gathered));
      source = gathered;
    }
    for_each_vector(count,
                    [&](int64_t i, auto lanes) { store(target + i, load(source + i, lanes) + splat(offset), lanes); });
  });
}

// Copies a matrix whose rows and columns both lie apart, a square of lanes at a time where its columns are contiguous.
template <class T>
void gather_rows(const T* source, int64_t row_stride, int64_t column_stride, int64_t rows, int64_t columns, T* target,
                 int64_t target_stride) {
  for (int64_t column = 0; column < columns; column += kLanes)
    for (int64_t row = 0; row < rows; row += kLanes) {
      const T* corner = source + row * row_stride + column * column_stride;
      T* target_corner = target + row * target_stride + column;
      if (row_stride == 1 && row + kLanes <= rows && column + kLanes <= columns) {
        Vec square[kLanes];
        for (int i = 0; i < kLanes; ++i) square[i] = load(corner + i * column_stride);
        transpose(square);
        for (int i = 0; i < kLanes; ++i) store(target_corner + i * target_stride, square[i]);
      } else {
        for (int64_t j = 0; j < kLanes && column + j < columns; ++j)
          for (int64_t i = 0; i < kLanes && row + i < rows; ++i)
            target_corner[i * target_stride + j] = corner[i * row_stride + j * column_stride];
      }
    }
}

// How many rows of arrays of T are best read at once: where the elements of neighbouring rows lie closer to each other
// than those of a row, as in a transposed matrix, all that share a cache line.
template <class T>
int64_t rows_read_together(const Rows& rows) {
  const auto distance = [](int64_t stride) { return stride < 0 ? -stride : stride; };
  if (rows.column_stride() == 1 || rows.extents().empty()) return 1;
  if (distance(rows.strides()[0]) >= distance(rows.column_stride())) return 1;
  return 64 / sizeof(T);
}
template <class T, class... Others>
int64_t rows_read_together(const Rows& rows, const Others&... others) {
  const int64_t own = rows_read_together<T>(rows), theirs = rows_read_together<T>(others...);
  return own > theirs ? own : theirs;
}

// Reads one span of an array's rows, in their order, as contiguous memory: in place where it is, through a buffer where
// not.
template <class T>
class SpanReader {
 public:
  SpanReader(const ArrayView& array, const Rows& rows, const Span& span)
      : data_(static_cast<const T*>(array.data)),
        rows_(rows),
        span_(span),
        most_rows_(rows_in_buffer()),
        buffer_(most_rows_ * buffer_stride()) {}

  const T* read(int64_t row) {
    if (rows_.column_stride() == 1) return data_ + rows_.offset(row) + span_.first_column;
    if (row >= end_) fill(row);
    return buffer_ + (row - first_) * buffer_stride();
  }

 private:
  static constexpr int64_t kLine = 64 / sizeof(T);

  // Not a power of two, which would put a column's elements into the same few places of the caches.
  int64_t buffer_stride() const { return (span_.columns() + kLine - 1) / kLine * kLine + kLine; }

  int64_t rows_in_buffer() const {
    if (rows_.column_stride() == 1) return 0;
    constexpr int64_t most_elements = int64_t{1} << 22;
    const int64_t fitting = most_elements / buffer_stride() + 1, all = span_.last_row - span_.first_row;
    const int64_t together = rows_read_together<T>(rows_);
    const int64_t sharing = together < all ? together : all;
    return sharing < fitting ? sharing : fitting;
  }

  // With the rows from `row` on, as many as lie at one distance from each other.
  void fill(int64_t row) {
    int64_t count = span_.last_row - row < most_rows_ ? span_.last_row - row : most_rows_;
    int64_t row_stride = 0;
    if (count > 1) {
      const int64_t extent = rows_.extents()[0], left = extent - row % extent;
      row_stride = rows_.strides()[0];
      if (left < count) count = left;
    }
    const int64_t stride = rows_.column_stride();
    const T* source = data_ + rows_.offset(row) + span_.first_column * stride;
    if (count == 1)
      gather(source, stride, span_.columns(), static_cast<T*>(buffer_));
    else
      gather_rows(source, row_stride, stride, count, span_.columns(), static_cast<T*>(buffer_), buffer_stride());
    first_ = row;
    end_ = row + count;
  }

  const T* data_;
  const Rows& rows_;
  const Span& span_;
  int64_t most_rows_;
  Scratch<T> buffer_;
  int64_t first_ = 0, end_ = 0;  // the rows in the buffer
};

}  // namespace fusedops::cpu::FUSEDOPS_ISA
