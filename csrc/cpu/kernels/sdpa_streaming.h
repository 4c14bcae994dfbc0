// Attention of few query rows (decoding): packing K and V would cost more than it saves, so every key is read once,
// as it lies in memory, and used for all query heads that share it.
#pragma once

#include "cpu/kernels/sdpa_tile.h"

namespace fusedops::cpu::FUSEDOPS_ISA {

template <class T>
class StreamingAttention {
 public:
  static constexpr int64_t kKeys = 32;  // per tile: K and V as float32 stay within L1 up to head_dim 128
  static constexpr int64_t kMaxRows = 8;

  static int64_t value_stride(const SdpaProblem& problem) { return round_up(problem.value_dim, kLanes); }
  static int64_t padded_rows(int64_t rows) { return rows; }
  static int64_t scratch_floats(const SdpaProblem& problem, int64_t rows) {
    const int64_t key_stride = round_up(problem.head_dim, kLanes);
    return rows * (key_stride + kKeys) + kKeys * larger(key_stride, value_stride(problem));
  }

  StreamingAttention(const SdpaProblem& problem, const SdpaBuffers& buffers, const RowBlock& block,
                     const Visibility& visibility, float* scratch)
      : problem_(problem),
        k_(buffers.k, block.batch, block.kv_head),
        v_(buffers.v, block.batch, block.kv_head),
        block_(block),
        visibility_(visibility),
        key_stride_(round_up(problem.head_dim, kLanes)) {
    queries_ = scratch;
    scores_ = queries_ + block.rows() * key_stride_;
    tile_rows_ = scores_ + block.rows() * kKeys;
    for (int64_t row = 0; row < block.rows(); ++row) {
      float* query = queries_ + row * key_stride_;
      const HeadMatrix<T> matrix(buffers.q, block.batch, block.head(row));
      widen(matrix.row(block.query(row)), matrix.column_stride, problem.head_dim, query);
      for (int64_t d = 0; d < key_stride_; ++d) query[d] *= problem.scale;
    }
  }

  void attend(const KeyRange& keys, const SoftmaxState& state) {
    for (int64_t first = keys.first; first < keys.last; first += kKeys) {
      const KeyRange tile{first, smaller(first + kKeys, keys.last)};
      const bool full = visibility_.is_full(tile) && problem_.softcap == 0;
      widen_tile(k_, tile, problem_.head_dim, key_stride_);
      for (int64_t row = 0; row < block_.rows(); ++row) {
        float* scores = scores_ + row * kKeys;
        multiply_keys(queries_ + row * key_stride_, tile.count(), scores);
        if (!full) visibility_.apply(row, tile, scores);
        const float rescale = online_softmax(scores, tile.count(), state.max[row], state.sum[row]);
        if (rescale != 1.f) scale_row(state.out + row * state.value_stride, state.value_stride, rescale);
      }
      const bool finite = widen_tile(v_, tile, problem_.value_dim, state.value_stride);
      for (int64_t row = 0; row < block_.rows(); ++row)
        add_values(scores_ + row * kKeys, tile.count(), finite, state.value_stride,
                   state.out + row * state.value_stride);
    }
  }

 private:
  // Writes `count` elements as float32, padded with zeros to whole vectors. Returns 0 in every lane that met only
  // finite values.
  FUSEDOPS_INLINE Vec widen(const T* source, int64_t stride, int64_t count, float* target) {
    Vec zeros{};
    if (stride == 1) {
      for_each_vector(count, [&](int64_t i, auto lanes) {
        const Vec value = load(source + i, lanes);
        store(target + i, value);
        zeros += value * splat(0.f);
      });
      return zeros;
    }
    for (int64_t i = 0; i < round_up(count, kLanes); ++i) {
      target[i] = i < count ? to_float(source[i * stride]) : 0.f;
      zeros[0] += target[i] * 0.f;
    }
    return zeros;
  }

  // Returns whether all of the tile is finite.
  bool widen_tile(const HeadMatrix<T>& matrix, const KeyRange& tile, int64_t dim, int64_t stride) {
    Vec zeros{};
    for (int64_t key = 0; key < tile.count(); ++key)
      zeros += widen(matrix.row(tile.first + key), matrix.column_stride, dim, tile_rows_ + key * stride);
    return !has_non_finite(zeros);
  }

  void multiply_keys(const float* query, int64_t count, float* scores) {
    constexpr int unroll = 4;
    int64_t key = 0;
    for (; key + unroll <= count; key += unroll) {
      Vec sums[unroll] = {};
      for (int64_t d = 0; d < key_stride_; d += kLanes)
        for (int u = 0; u < unroll; ++u) sums[u] += load(query + d) * load(tile_rows_ + (key + u) * key_stride_ + d);
      for (int u = 0; u < unroll; ++u) scores[key + u] = sum_lanes(sums[u]);
    }
    for (; key < count; ++key) {
      Vec sum{};
      for (int64_t d = 0; d < key_stride_; d += kLanes)
        sum += load(query + d) * load(tile_rows_ + key * key_stride_ + d);
      scores[key] = sum_lanes(sum);
    }
  }

  void scale_row(float* row, int64_t count, float factor) {
    for (int64_t i = 0; i < count; i += kLanes) store(row + i, load(row + i) * splat(factor));
  }

  // out += sum_key weights[key] * values[key]. With values that are not all finite a weight of 0 must skip its key,
  // since 0 * NaN would not hide it.
  void add_values(const float* weights, int64_t count, bool finite, int64_t stride, float* out) {
    constexpr int unroll = 4;
    for (int64_t column = 0; column < stride; column += unroll * kLanes) {
      const int vectors = static_cast<int>(smaller(unroll, (stride - column) / kLanes));
      Vec sums[unroll] = {};  // of this tile alone: shorter chains of rounding errors
      for (int64_t key = 0; key < count; ++key) {
        if (!finite && weights[key] == 0.f) continue;
        const float* values = tile_rows_ + key * stride + column;
        if (vectors == unroll)
          for (int u = 0; u < unroll; ++u) sums[u] += splat(weights[key]) * load(values + u * kLanes);
        else
          for (int u = 0; u < vectors; ++u) sums[u] += splat(weights[key]) * load(values + u * kLanes);
      }
      for (int u = 0; u < vectors; ++u) {
        float* cell = out + column + u * kLanes;
        store(cell, load(cell) + sums[u]);
      }
    }
  }

  const SdpaProblem& problem_;
  const HeadMatrix<T> k_, v_;
  const RowBlock& block_;
  const Visibility& visibility_;
  const int64_t key_stride_;
  float *queries_, *scores_, *tile_rows_;
};

}  // namespace fusedops::cpu::FUSEDOPS_ISA
