// Rows whose elements lie apart are brought together before they are computed on.
#pragma once

#include "cpu/kernels/scratch.h"
#include "cpu/kernels/simd.h"
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

// Reads one span of an array's rows as contiguous memory: in place where it is, through a buffer where not.
template <class T>
class SpanReader {
 public:
  SpanReader(const ArrayView& array, const Rows& rows, const Span& span)
      : data_(static_cast<const T*>(array.data)),
        rows_(rows),
        span_(span),
        buffer_(rows.column_stride() == 1 ? 0 : span.columns()) {}

  const T* read(int64_t row) {
    const int64_t stride = rows_.column_stride();
    const T* source = data_ + rows_.offset(row) + span_.first_column * stride;
    if (stride == 1) return source;
    gather(source, stride, span_.columns(), static_cast<T*>(buffer_));
    return buffer_;
  }

 private:
  const T* data_;
  const Rows& rows_;
  const Span& span_;
  Scratch<T> buffer_;
};

}  // namespace fusedops::cpu::FUSEDOPS_ISA
