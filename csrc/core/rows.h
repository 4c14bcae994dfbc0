// Strided arrays seen as rows along the last dimension.
#pragma once

#include "core/array.h"

namespace fusedops {

// Where each row of an array starts. Dimensions that are contiguous with one another count as one.
class Rows {
 public:
  explicit Rows(const ArrayView& array);
  ~Rows();  // out of line, as everything here that is not inlined into the CPU's kernels (see cpu/kernels/simd.h)
  int64_t offset(int64_t row) const;  // in elements
  int64_t column_stride() const { return column_stride_; }
  const Shape& extents() const { return extents_; }  // of the leading dimensions, innermost first
  const Strides& strides() const { return strides_; }

 private:
  Shape extents_;
  Strides strides_;
  int64_t column_stride_;
};

bool is_contiguous(const ArrayView& array);

// Columns per row of an array seen as rows along its last dimension; a scalar is one row of one column.
inline int64_t column_count(const Shape& shape) { return shape.empty() ? 1 : shape.back(); }

}  // namespace fusedops
