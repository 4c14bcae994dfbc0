#include "core/rows.h"

namespace fusedops {

Rows::Rows(const ArrayView& array) : column_stride_(column_count(array.shape) > 1 ? array.strides.back() : 1) {
  for (size_t i = array.shape.size(); i-- > 1;) {
    const int64_t extent = array.shape[i - 1], stride = array.strides[i - 1];
    if (extent == 1) continue;
    if (!extents_.empty() && stride == strides_.back() * extents_.back()) {
      extents_.back() *= extent;
    } else {
      extents_.push_back(extent);
      strides_.push_back(stride);
    }
  }
}

Rows::~Rows() = default;

int64_t Rows::offset(int64_t row) const {
  int64_t offset = 0;
  for (size_t i = 0; i < extents_.size(); ++i) {
    offset += row % extents_[i] * strides_[i];
    row /= extents_[i];
  }
  return offset;
}

bool is_contiguous(const ArrayView& array) {
  int64_t expected = 1;
  for (size_t i = array.shape.size(); i-- > 0;) {
    if (array.shape[i] != 1 && array.strides[i] != expected) return false;
    expected *= array.shape[i];
  }
  return true;
}

}  // namespace fusedops
