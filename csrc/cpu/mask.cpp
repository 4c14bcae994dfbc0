#include "cpu/mask.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <utility>

namespace fusedops::cpu {
namespace {

struct Dimension {
  int64_t extent = 1;
  int64_t from = 0, to = 0;  // strides in elements
};

// From the outermost to the keys.
using Dimensions = std::array<Dimension, 4>;

// Of a square block, whose rows and columns stay in the first cache: a line of a mask in 16 bits each, and more.
constexpr int64_t kBlock = 64;

// The last dimension is the keys'. The one before it is that of which neighbours lie nearest to each other in the
// source: so a block uses all of the lines that it reads.
void put_nearest_before_keys(Dimensions& dimensions) {
  const auto distance = [](const Dimension& d) { return d.extent > 1 ? std::abs(d.from) : INT64_MAX; };
  const auto nearer = [&](const Dimension& a, const Dimension& b) { return distance(a) < distance(b); };
  std::swap(dimensions[2], *std::min_element(dimensions.begin(), dimensions.begin() + 3, nearer));
}

template <class Element>
void copy_block(const Element* from, Element* to, const Dimension& rows, const Dimension& keys, int64_t row_count,
                int64_t key_count) {
  for (int64_t row = 0; row < row_count; ++row)
    for (int64_t key = 0; key < key_count; ++key) to[row * rows.to + key] = from[row * rows.from + key * keys.from];
}

template <class Element>
void copy(const void* source, void* target, const Dimensions& dimensions, Executor& executor) {
  const auto& [outer, inner, rows, keys] = dimensions;
  const int64_t blocks = (rows.extent + kBlock - 1) / kBlock;
  // Where keys are each other's nearest neighbours, whole rows.
  const int64_t keys_at_once = std::abs(keys.from) <= std::abs(rows.from) ? keys.extent : kBlock;
  const int64_t elements = outer.extent * inner.extent * rows.extent * keys.extent;
  const auto task = [&, &outer = outer, &inner = inner, &rows = rows, &keys = keys](int64_t index, int) {
    const int64_t row = index % blocks * kBlock, plane = index / blocks;
    const int64_t i = plane / inner.extent, j = plane % inner.extent;
    const auto* from = static_cast<const Element*>(source) + i * outer.from + j * inner.from + row * rows.from;
    auto* to = static_cast<Element*>(target) + i * outer.to + j * inner.to + row * rows.to;
    for (int64_t key = 0; key < keys.extent; key += keys_at_once)
      copy_block(from + key * keys.from, to + key, rows, keys, std::min(kBlock, rows.extent - row),
                 std::min(keys_at_once, keys.extent - key));
  };
  for_each_task(executor, threads_for(executor, elements), outer.extent * inner.extent * blocks, task);
}

}  // namespace

bool has_keys_apart(const ArrayView& mask) {
  return !mask.shape.empty() && mask.shape.back() > 1 && mask.strides.back() != 0 && mask.strides.back() != 1;
}

CopiedMask::CopiedMask(const ArrayView& mask, Executor& executor) : view_(mask) {
  const size_t rank = mask.shape.size();
  for (size_t i = 0; i < rank; ++i)
    if (mask.strides[i] == 0) view_.shape[i] = 1;
  view_.strides = contiguous_strides(view_.shape);
  const int64_t elements = element_count(view_.shape), size = size_of(mask.dtype);
  memory_ = std::make_unique_for_overwrite<std::byte[]>(elements * size);
  view_.data = memory_.get();

  Dimensions dimensions;
  for (size_t i = 0; i < rank; ++i) dimensions[4 - rank + i] = {view_.shape[i], mask.strides[i], view_.strides[i]};
  put_nearest_before_keys(dimensions);
  if (size == 1)
    copy<uint8_t>(mask.data, memory_.get(), dimensions, executor);
  else if (size == 2)
    copy<uint16_t>(mask.data, memory_.get(), dimensions, executor);
  else
    copy<uint32_t>(mask.data, memory_.get(), dimensions, executor);
}

}  // namespace fusedops::cpu
