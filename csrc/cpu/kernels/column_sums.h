// Sums over the rows of a matrix, as the gradients of weights and biases are, that come out the same with any number of
// threads: the rows are cut into chunks by their count alone, and the chunks' sums are added in order.
#pragma once

#include "cpu/kernels/scratch.h"
#include "cpu/kernels/simd.h"
#include "cpu/rows.h"

namespace fusedops::cpu::FUSEDOPS_ISA {

class ColumnSums {
 public:
  ColumnSums(int64_t rows, int64_t columns)
      : rows_(rows),
        columns_(columns),
        rows_per_chunk_(rows_in_chunk(rows, columns)),
        chunks_((rows + rows_per_chunk_ - 1) / rows_per_chunk_),
        partial_(chunks_ * 2 * columns) {}

  // body(span, sums) for spans of whole rows; `sums` are zeros to which the span's own are added.
  template <class Body>
  void accumulate(Executor& executor, Body&& body) {
    for_each_task(executor, threads_for(executor, rows_ * columns_), chunks_, [&](int64_t chunk, int) {
      float *total = partial_ + chunk * 2 * columns_, *sums = total + columns_;
      clear(total);
      const int64_t end = smaller(rows_, (chunk + 1) * rows_per_chunk_);
      // Sums of few rows, added up, keep the chains of rounding errors short.
      for (int64_t row = chunk * rows_per_chunk_; row < end; row += kRowsPerSum) {
        clear(sums);
        body(Span{row, smaller(end, row + kRowsPerSum), 0, columns_}, sums);
        for_each_vector(columns_, [&](int64_t i, auto lanes) {
          store(total + i, load(total + i, lanes) + load(sums + i, lanes), lanes);
        });
      }
    });
  }

  template <class T>
  void write(T* target) {
    for_each_vector(columns_, [&](int64_t i, auto lanes) {
      Vec total{};
      for (int64_t chunk = 0; chunk < chunks_; ++chunk) total += load(partial_ + chunk * 2 * columns_ + i, lanes);
      store(target + i, total, lanes);
    });
  }

 private:
  static constexpr int64_t kRowsPerSum = 16;

  static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

  void clear(float* sums) {
    for (int64_t i = 0; i < columns_; ++i) sums[i] = 0.f;
  }

  // Chunks long enough that their sums cost little beside the rows, and few enough that those stay in cache.
  static int64_t rows_in_chunk(int64_t rows, int64_t columns) {
    constexpr int64_t max_chunks = 64;
    const int64_t by_count = (rows + max_chunks - 1) / max_chunks;
    const int64_t by_elements = kElementsPerTask / (columns + 1) + 1;
    return (by_count > by_elements ? by_count : by_elements) + kRowsPerSum;
  }

  const int64_t rows_, columns_, rows_per_chunk_, chunks_;
  Scratch<float> partial_;
};

}  // namespace fusedops::cpu::FUSEDOPS_ISA
