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

// task(span) for spans of whole rows that cover rows x columns, `rows_together` at least.
template <class Task>
void for_each_row_block(Executor& executor, int64_t rows, int64_t columns, int64_t rows_together, Task&& task) {
  const int64_t least_rows = columns < kElementsPerTask ? kElementsPerTask / (columns + 1) + 1 : 1;
  const int64_t rows_per_span = (least_rows + rows_together - 1) / rows_together * rows_together;
  const int threads = threads_for(executor, rows * columns);
  for_each_task(executor, threads, (rows + rows_per_span - 1) / rows_per_span, [&](int64_t index, int) {
    const int64_t row = index * rows_per_span, end_row = row + rows_per_span;
    task(Span{row, end_row < rows ? end_row : rows, 0, columns});
  });
}

// The same for spans that may be parts of rows.
template <class Task>
void for_each_span(Executor& executor, int64_t rows, int64_t columns, int64_t rows_together, Task&& task) {
  const int64_t columns_per_span = kElementsPerTask / rows_together;
  if (columns < columns_per_span) return for_each_row_block(executor, rows, columns, rows_together, task);
  const int64_t spans_per_row = (columns + columns_per_span - 1) / columns_per_span;
  const int64_t tasks = (rows + rows_together - 1) / rows_together * spans_per_row;
  for_each_task(executor, threads_for(executor, rows * columns), tasks, [&](int64_t index, int) {
    const int64_t row = index / spans_per_row * rows_together, end_row = row + rows_together;
    const int64_t column = index % spans_per_row * columns_per_span, end_column = column + columns_per_span;
    task(Span{row, end_row < rows ? end_row : rows, column, end_column < columns ? end_column : columns});
  });
}

}  // namespace fusedops::cpu
