// Attention of many query rows over a tile of keys: K and V are brought into panels once, then two register-blocked
// matrix products (Goto & van de Geijn 2008, https://doi.org/10.1145/1356052.1356053) with online softmax between.
#pragma once

#include "cpu/kernels/sdpa_tile.h"

namespace fusedops::cpu::FUSEDOPS_ISA {

template <class T>
class PackedAttention {
 public:
  static constexpr int64_t kKeys = 128;  // per tile: K and V panels of head_dim 128 take 128 KB, within L2
  static constexpr int kPanel = 2 * kLanes;
  // Rows of a register block: its sums, one vector pair of the panel and a broadcast value fill the register file.
#if defined(__AVX512F__) || defined(__aarch64__)
  static constexpr int kStrip = 12;
#else
  static constexpr int kStrip = 6;
#endif

  static int64_t value_stride(const SdpaProblem& problem) { return round_up(problem.value_dim, kPanel); }
  static int64_t padded_rows(int64_t rows) { return round_up(rows, kStrip); }
  static int64_t scratch_floats(const SdpaProblem& problem, int64_t rows) {
    return padded_rows(rows) * problem.head_dim + kKeys * (problem.head_dim + value_stride(problem)) + kStrip * kKeys;
  }

  PackedAttention(const SdpaProblem& problem, const SdpaBuffers& buffers, const RowBlock& block,
                  const Visibility& visibility, float* scratch)
      : problem_(problem),
        k_(buffers.k, block.batch, block.kv_head),
        v_(buffers.v, block.batch, block.kv_head),
        block_(block),
        visibility_(visibility) {
    queries_ = scratch;
    keys_ = queries_ + padded_rows(block.rows()) * problem.head_dim;
    values_ = keys_ + kKeys * problem.head_dim;
    scores_ = values_ + kKeys * value_stride(problem);
    pack_queries(buffers.q);
  }

  void attend(const KeyRange& keys, const SoftmaxState& state) {
    for (int64_t first = keys.first; first < keys.last; first += kKeys) {
      const KeyRange tile{first, smaller(first + kKeys, keys.last)};
      pack_keys(tile);
      const bool finite = pack_values(tile);
      for (int64_t row = 0; row < block_.rows(); row += kStrip) attend_strip(tile, row, finite, state);
    }
  }

 private:
  // Strips of kStrip rows, dimension-major, scaled; rows that are missing in the last one are zeros.
  void pack_queries(const ArrayView& q) {
    const int64_t dim = problem_.head_dim;
    for (int64_t row = 0; row < padded_rows(block_.rows()); ++row) {
      float* target = queries_ + row / kStrip * kStrip * dim + row % kStrip;
      if (row < block_.rows()) {
        const HeadMatrix<T> matrix(q, block_.batch, block_.head(row));
        spread(matrix.row(block_.query(row)), matrix.column_stride, dim, problem_.scale, target, kStrip);
      } else {
        for (int64_t d = 0; d < dim; ++d) target[d * kStrip] = 0.f;
      }
    }
  }

  // Panels of kPanel keys, dimension-major. What is missing of the last panel is left as it was: its scores are unused.
  void pack_keys(const KeyRange& tile) {
    const int64_t dim = problem_.head_dim;
    for (int64_t key = 0; key < tile.count(); ++key)
      spread(k_.row(tile.first + key), k_.column_stride, dim, 1.f, keys_ + key / kPanel * kPanel * dim + key % kPanel,
             kPanel);
  }

  // target[i * target_stride] = factor * source[i * stride]
  FUSEDOPS_INLINE void spread(const T* source, int64_t stride, int64_t count, float factor, float* target,
                              int64_t target_stride) {
    T gathered[kLanes];
    for_each_vector(count, [&](int64_t i, auto lanes) {
      const int64_t present = smaller(kLanes, count - i);
      const T* elements = source + i * stride;
      if (stride != 1) {
        gather(elements, stride, present, gathered);
        elements = gathered;
      }
      float values[kLanes];
      store(values, load(elements, lanes) * splat(factor));
      for (int64_t lane = 0; lane < present; ++lane) target[(i + lane) * target_stride] = values[lane];
    });
  }

  // Panels of kPanel columns, key-major, padded with zeros. Returns whether all values are finite.
  bool pack_values(const KeyRange& tile) {
    const int64_t dim = problem_.value_dim;
    Vec zeros{};
    T gathered[kPanel];
    for (int64_t column = 0; column < dim; column += kPanel) {
      float* panel = values_ + column * kKeys;
      const int64_t columns = smaller(kPanel, dim - column);
      for (int64_t key = 0; key < tile.count(); ++key) {
        const T* source = v_.row(tile.first + key) + column * v_.column_stride;
        if (v_.column_stride != 1) {
          gather(source, v_.column_stride, columns, gathered);
          source = gathered;
        }
        for (int half = 0; half < kPanel; half += kLanes) {
          const int64_t present = columns - half;
          Vec value{};
          if (present >= kLanes)
            value = load(source + half);
          else if (present > 0)
            value = load(source + half, SomeLanes{present});
          store(panel + key * kPanel + half, value);
          zeros += value * splat(0.f);
        }
      }
    }
    return !has_non_finite(zeros);
  }

  void attend_strip(const KeyRange& tile, int64_t row, bool finite_values, const SoftmaxState& state) {
    const int64_t rows = smaller(kStrip, block_.rows() - row), dim = problem_.head_dim;
    for (int64_t key = 0; key < tile.count(); key += kPanel)
      for (int64_t d = 0; d < dim; d += kDepth)
        multiply<1, kStrip>(queries_ + row * dim + d * kStrip, keys_ + key * dim + d * kPanel, smaller(kDepth, dim - d),
                            d ? kOnes : nullptr, scores_ + key, kKeys);
    float rescale[kStrip] = {};
    const bool full = visibility_.is_full(tile) && problem_.softcap == 0;
    for (int64_t r = 0; r < rows; ++r) {
      if (!full) visibility_.apply(row + r, tile, scores_ + r * kKeys);
      rescale[r] = online_softmax(scores_ + r * kKeys, tile.count(), state.max[row + r], state.sum[row + r]);
    }
    float* out = state.out + row * state.value_stride;
    if (!finite_values) return add_visible_values(tile, rows, rescale, out);
    for (int64_t column = 0; column < state.value_stride; column += kPanel)
      multiply<kKeys, 1>(scores_, values_ + column * kKeys, tile.count(), rescale, out + column, state.value_stride);
  }

  // target[r] = rescale[r] * target[r] + sum_i left[r, i] * panel[i]; without rescale target[r] is only written.
  template <int64_t left_row_stride, int64_t left_depth_stride>
  FUSEDOPS_INLINE void multiply(const float* left, const float* panel, int64_t depth, const float* rescale,
                                float* target, int64_t target_stride) {
    Vec sums[kStrip][2] = {};
    for (int64_t i = 0; i < depth; ++i) {
      const Vec low = load(panel + i * kPanel), high = load(panel + i * kPanel + kLanes);
#pragma GCC unroll 12
      for (int r = 0; r < kStrip; ++r) {
        const Vec factor = splat(left[r * left_row_stride + i * left_depth_stride]);
        sums[r][0] += factor * low;
        sums[r][1] += factor * high;
      }
    }
    // Adding the tile's own sum to what was there keeps the chains of rounding errors short.
#pragma GCC unroll 12
    for (int r = 0; r < kStrip; ++r)
      for (int half = 0; half < 2; ++half) {
        float* cell = target + r * target_stride + half * kLanes;
        store(cell, rescale ? load(cell) * splat(rescale[r]) + sums[r][half] : sums[r][half]);
      }
  }

  // The product with values that are not all finite: a weight of 0 hides its key, while 0 * NaN would not.
  void add_visible_values(const KeyRange& tile, int64_t rows, const float* rescale, float* out) {
    const int64_t stride = value_stride(problem_);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t column = 0; column < stride; ++column) {
        const float* panel = values_ + column / kPanel * kPanel * kKeys + column % kPanel;
        float sum = out[r * stride + column] * rescale[r];
        for (int64_t key = 0; key < tile.count(); ++key)
          if (scores_[r * kKeys + key] != 0.f) sum += scores_[r * kKeys + key] * panel[key * kPanel];
        out[r * stride + column] = sum;
      }
  }

  // Dimensions summed at a time: longer chains of additions would lose accuracy, shorter ones time.
  static constexpr int64_t kDepth = 32;
  static constexpr float kOnes[12] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
  static_assert(kStrip <= 12);

  const SdpaProblem& problem_;
  const HeadMatrix<T> k_, v_;
  const RowBlock& block_;
  const Visibility& visibility_;
  float *queries_, *keys_, *values_, *scores_;
};

}  // namespace fusedops::cpu::FUSEDOPS_ISA
