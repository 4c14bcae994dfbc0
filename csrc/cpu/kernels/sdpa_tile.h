// What both ways of attending over a tile of keys share: which rows there are, what they may see, online softmax.
#pragma once

#include "cpu/kernels/gather.h"
#include "cpu/kernels/math.h"
#include "cpu/sdpa_call.h"

namespace fusedops::cpu::FUSEDOPS_ISA {

inline constexpr float kMinusInfinity = -__builtin_inff();

FUSEDOPS_INLINE int64_t ceil_divide(int64_t value, int64_t divisor) { return (value + divisor - 1) / divisor; }
FUSEDOPS_INLINE int64_t round_up(int64_t value, int64_t multiple) { return ceil_divide(value, multiple) * multiple; }
FUSEDOPS_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
FUSEDOPS_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// Query rows that share a KV head: all the heads of its group for some consecutive queries. The heads of one query
// are neighbours, so that neighbouring rows see nearly the same keys.
struct RowBlock {
  int64_t batch;
  int64_t kv_head;
  int64_t first_query;
  int64_t queries;
  int64_t group_size;

  int64_t rows() const { return queries * group_size; }
  int64_t query(int64_t row) const { return first_query + row / group_size; }
  int64_t head(int64_t row) const { return kv_head * group_size + row % group_size; }
  int64_t last_query() const { return first_query + queries - 1; }
};

struct KeyRange {
  int64_t first;
  int64_t last;  // exclusive

  int64_t count() const { return last - first; }
  KeyRange within(const KeyRange& other) const {
    const int64_t begin = larger(first, other.first);
    return {begin, larger(begin, smaller(last, other.last))};
  }
  KeyRange from(int64_t origin) const { return {first - origin, last - origin}; }
};

// The (length, dim) matrix of one batch and head, from a row on. A batch of one serves all.
template <class T>
struct HeadMatrix {
  HeadMatrix(const ArrayView& view, int64_t batch, int64_t head, int64_t first_row)
      : data(static_cast<const T*>(view.data) + (view.shape[0] == 1 ? 0 : batch * view.strides[0]) +
             head * view.strides[1] + first_row * view.strides[2]),
        row_stride(view.strides[2]),
        column_stride(view.strides[3]) {}

  const T* row(int64_t index) const { return data + index * row_stride; }

  const T* data;
  int64_t row_stride;
  int64_t column_stride;
};

// The state of online softmax for the rows of a block: out = sum_j e^(s_j - max) v_j, sum = sum_j e^(s_j - max).
// Milakov & Gimelshein 2018, https://arxiv.org/abs/1805.02867
struct SoftmaxState {
  float* out;  // rows x value_stride
  float* max;
  float* sum;
  int64_t value_stride;

  static int64_t floats(int64_t rows, int64_t value_stride) { return rows * (value_stride + 2); }
  static SoftmaxState in(float* memory, int64_t rows, int64_t value_stride) {
    return {memory, memory + rows * value_stride, memory + rows * (value_stride + 1), value_stride};
  }
  void clear(int64_t rows) const {
    for (int64_t i = 0; i < rows * value_stride; ++i) out[i] = 0.f;
    for (int64_t row = 0; row < rows; ++row) {
      max[row] = kMinusInfinity;
      sum[row] = 0.f;
    }
  }
};

// e^(x - max), where nothing has been seen before (max is minus infinity) 0 and not NaN.
FUSEDOPS_INLINE float finite_or_zero(float max) { return max == kMinusInfinity ? 0.f : max; }
FUSEDOPS_INLINE float exp(float x) { return exp(splat(x))[0]; }

// A bias of minus infinity hides the key, whatever its score, even NaN.
FUSEDOPS_INLINE Vec add_bias(Vec score, Vec bias) {
  return select(bias == splat(kMinusInfinity), splat(kMinusInfinity), score + bias);
}

// softcap tanh(score / softcap)
FUSEDOPS_INLINE Vec cap(Vec score, Vec softcap) { return softcap * tanh(score / softcap); }

// Which keys the rows of a block see, and what is added to their scores.
class Visibility {
 public:
  Visibility(const SdpaProblem& problem, const SdpaBuffers& buffers, const RowBlock& block)
      : problem_(problem), block_(block) {
    if (!buffers.mask) return;
    mask_ = &*buffers.mask;
    // A missing or broadcast dimension has stride 0.
    const size_t rank = mask_->shape.size();
    for (size_t i = 0; i < rank && i < 4; ++i) {
      const size_t from = rank - 1 - i;
      mask_strides_[3 - i] = mask_->shape[from] == 1 ? 0 : mask_->strides[from];
    }
  }

  bool has_mask() const { return mask_ != nullptr; }

  // The keys that any row of the block may see.
  KeyRange keys() const {
    return seen_by_any(block_.first_query, block_.last_query()).within({0, problem_.key_length});
  }

  // Whether every row sees all keys of the tile.
  bool is_full(const KeyRange& tile) const {
    const KeyRange seen = seen_by_all(block_.first_query, block_.last_query());
    return !mask_ && seen.first <= tile.first && seen.last >= tile.last;
  }

  // The keys within the band of some, and of all, of the queries from `first` to `last`, both included.
  KeyRange seen_by_any(int64_t first, int64_t last) const {
    return {problem_.band.first_key(first), problem_.band.last_key(last) + 1};
  }
  KeyRange seen_by_all(int64_t first, int64_t last) const {
    return {problem_.band.first_key(last), problem_.band.last_key(first) + 1};
  }

  // Turns a row's products q.k into the exponents of its softmax; hidden keys get minus infinity.
  void apply(int64_t row, const KeyRange& tile, float* scores) const {
    if (problem_.softcap > 0) cap_all(tile.count(), scores);
    add_mask_and_band(row, tile, scores);
  }

  // The part of it that depends on where the row and the keys are.
  void add_mask_and_band(int64_t row, const KeyRange& tile, float* scores) const {
    if (mask_) add_mask(row, tile, scores);
    const int64_t query = block_.query(row);
    const int64_t first = smaller(larger(problem_.band.first_key(query) - tile.first, 0), tile.count());
    const int64_t last = larger(smaller(problem_.band.last_key(query) + 1 - tile.first, tile.count()), 0);
    for (int64_t key = 0; key < first; ++key) scores[key] = kMinusInfinity;
    for (int64_t key = last; key < tile.count(); ++key) scores[key] = kMinusInfinity;
  }

 private:
  void cap_all(int64_t count, float* scores) const {
    const Vec softcap = splat(problem_.softcap);
    for_each_vector(count,
                    [&](int64_t i, auto lanes) { store(scores + i, cap(load(scores + i, lanes), softcap), lanes); });
  }

  // Keys lie side by side in the mask (cpu/mask.h), or all have one value.
  void add_mask(int64_t row, const KeyRange& tile, float* scores) const {
    const int64_t offset = block_.batch * mask_strides_[0] + block_.head(row) * mask_strides_[1] +
                           block_.query(row) * mask_strides_[2] + tile.first * mask_strides_[3];
    if (mask_->dtype == DType::boolean) {
      const auto* visible = static_cast<const uint8_t*>(mask_->data) + offset;
      for (int64_t key = 0; key < tile.count(); ++key)
        if (!visible[key * mask_strides_[3]]) scores[key] = kMinusInfinity;
      return;
    }
    dispatch_dtype(mask_->dtype, [&]<class T>(const T*) {
      const auto* bias = static_cast<const T*>(mask_->data) + offset;
      const bool same = mask_strides_[3] == 0;
      const Vec value = splat(to_float(*bias));
      for_each_vector(tile.count(), [&](int64_t i, auto lanes) {
        store(scores + i, add_bias(load(scores + i, lanes), same ? value : load(bias + i, lanes)), lanes);
      });
    });
  }

  const SdpaProblem& problem_;
  const RowBlock& block_;
  const ArrayView* mask_ = nullptr;
  int64_t mask_strides_[4] = {0, 0, 0, 0};
};

// Turns a row of scores into weights e^(s - max) and updates the row's max and sum. Returns the factor by which
// what was accumulated before must be multiplied. `scores` is padded to whole vectors.
FUSEDOPS_INLINE float online_softmax(float* scores, int64_t count, float& max, float& sum) {
  for (int64_t i = count; i < round_up(count, kLanes); ++i) scores[i] = kMinusInfinity;
  Vec maxima = splat(max);
  for (int64_t i = 0; i < count; i += kLanes) maxima = cpu::FUSEDOPS_ISA::max(maxima, load(scores + i));
  const float new_max = max_lanes(maxima);
  const float reference = finite_or_zero(new_max);
  const float rescale = exp(max - reference);
  Vec sums{};
  for (int64_t i = 0; i < count; i += kLanes) {
    const Vec weight = exp(load(scores + i) - splat(reference));
    store(scores + i, weight);
    sums += weight;
  }
  sum = sum * rescale + sum_lanes(sums);
  max = new_max;
  return rescale;
}

// Whether any term was infinite or NaN, by the sum of all terms times 0.
FUSEDOPS_INLINE bool has_non_finite(Vec zeros) { return !(sum_lanes(zeros) == 0.f); }

}  // namespace fusedops::cpu::FUSEDOPS_ISA
