// The ways to cut rows x columns into tasks.
#pragma once

#include "core/rows.h"
#include "cpu/executor.h"

namespace fusedops::cpu {

// A task's share of rows x columns: whole rows, or a part of one.
struct Span {
  int64_t first_row;
  int64_t last_row;
  int64_t first_column;
  int64_t last_column;

  int64_t columns() const { return last_column - first_column; }
};

inline constexpr int64_t kElementsPerTask = 16384;

// task(span) for spans of whole rows that cover rows x columns.
template <class Task>
void for_each_row_block(Executor& executor, int64_t rows, int64_t columns, Task&& task) {
  const int64_t rows_per_span = columns < kElementsPerTask ? kElementsPerTask / (columns + 1) + 1 : 1;
  const int threads = threads_for(executor, rows * columns);
  for_each_task(executor, threads, (rows + rows_per_span - 1) / rows_per_span, [&](int64_t index, int) {
    const int64_t row = index * rows_per_span, end_row = row + rows_per_span;
    task(Span{row, end_row < rows ? end_row : rows, 0, columns});
  });
}

// task(span) for spans that cover rows x columns and may be parts of a row.
template <class Task>
void for_each_span(Executor& executor, int64_t rows, int64_t columns, Task&& task) {
  if (columns < kElementsPerTask) return for_each_row_block(executor, rows, columns, task);
  const int64_t spans_per_row = (columns + kElementsPerTask - 1) / kElementsPerTask;
  for_each_task(executor, threads_for(executor, rows * columns), rows * spans_per_row, [&](int64_t index, int) {
    const int64_t row = index / spans_per_row;
    const int64_t column = index % spans_per_row * kElementsPerTask, end_column = column + kElementsPerTask;
    task(Span{row, row + 1, column, end_column < columns ? end_column : columns});
  });
}

}  // namespace fusedops::cpu
