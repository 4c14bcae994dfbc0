// Attention of few query rows (decoding): packing K and V would cost more than it saves, so every key is read once,
// straight from memory into registers, and used for all query heads that share it.
#pragma once

#include "cpu/kernels/sdpa_tile.h"
#include "cpu/kernels/vector_pairs.h"

namespace fusedops::cpu::FUSEDOPS_ISA {

template <class T>
class StreamingAttention {
 public:
  static constexpr int64_t kKeys = 64;     // per tile: enough to make up for the start and end of its loops
  static constexpr int64_t kMaxRows = 16;  // up to which this beats packing, measured

  static int64_t value_stride(const SdpaProblem& problem) { return round_up(problem.value_dim, kPairLanes); }
  static int64_t padded_rows(int64_t rows) { return rows; }
  static int64_t scratch_floats(const SdpaProblem& problem, int64_t rows) {
    return rows * (query_steps(problem) * kOperandFloats + kKeys) + kKeys * larger(problem.head_dim, problem.value_dim);
  }

  StreamingAttention(const SdpaSequence& sequence, const SdpaBuffers& buffers, const RowBlock& block,
                     const Visibility& visibility, float* scratch)
      : problem_(sequence.problem),
        k_(buffers.k, block.batch, block.kv_head, sequence.first_key),
        v_(buffers.v, block.batch, block.kv_head, sequence.first_key),
        block_(block),
        visibility_(visibility),
        queries_(reinterpret_cast<Operand*>(scratch)),
        scores_(scratch + block.rows() * query_steps(problem_) * kOperandFloats),
        gathered_(reinterpret_cast<T*>(scores_ + block.rows() * kKeys)) {
    // A group's rows are interleaved, operand by operand, as multiply_keys reads them.
    for_each_group(block.rows(), [&]<class Rows>(int64_t first_row, Rows) {
      for (int r = 0; r < Rows::value; ++r)
        load_query(buffers.q, sequence.first_query, first_row + r, queries_ + first_row * query_steps(problem_) + r,
                   Rows::value);
    });
  }

  void attend(const KeyRange& keys, const SoftmaxState& state) {
    attend(keys, true, state);
    // NaN and infinity never become finite again, so that looking at the end is enough.
    if (!is_finite(state)) {
      state.clear(block_.rows());
      attend(keys, false, state);
    }
    for (int64_t row = 0; row < block_.rows(); ++row)
      restore_order<T>(state.out + row * state.value_stride, state.value_stride);
  }

 private:
  using Operand = typename DotOperand<T>::Type;
  static constexpr int64_t kOperandFloats = sizeof(Operand) / sizeof(float);
  // How many keys ahead K and V are asked for, each while it is read itself: enough for memory's latency.
  static constexpr int64_t kAhead = 64;
  // Sums held in registers, half of what the instruction set has.
#if defined(__AVX512F__) || defined(__aarch64__)
  static constexpr int kSums = 16;
#else
  static constexpr int kSums = 8;
#endif
  static int64_t query_steps(const SdpaProblem& problem) { return round_up(problem.head_dim, kPairLanes) / kPairLanes; }

  // Rows of a tile of K or V, each contiguous.
  struct TileRows {
    const T* data;
    int64_t stride;

    const T* row(int64_t index) const { return data + index * stride; }
  };

  template <int n>
  struct Count {
    static constexpr int value = n;
  };

  // body(row, Count) for groups of four, two and one of the block's rows.
  template <class Body>
  FUSEDOPS_INLINE void for_each_group(int64_t rows, Body&& body) {
    int64_t row = 0;
    for (; row + 4 <= rows; row += 4) body(row, Count<4>{});
    for (; row + 2 <= rows; row += 2) body(row, Count<2>{});
    if (row < rows) body(row, Count<1>{});
  }

  void load_query(const ArrayView& q, int64_t first_query, int64_t row, Operand* target, int64_t stride) {
    const KeyRange query{block_.query(row), block_.query(row) + 1};
    const HeadMatrix<T> matrix(q, block_.batch, block_.head(row), first_query);
    const TileRows elements = contiguous(matrix, query, problem_.head_dim);
    for_each_pair(problem_.head_dim, [&](int64_t i, auto lanes) {
      target[i / kPairLanes * stride] = DotOperand<T>::load(elements.data + i, lanes);
    });
  }

  TileRows contiguous(const HeadMatrix<T>& matrix, const KeyRange& tile, int64_t dim) {
    if (matrix.column_stride == 1) return {matrix.row(tile.first), matrix.row_stride};
    for (int64_t key = 0; key < tile.count(); ++key)
      gather(matrix.row(tile.first + key), matrix.column_stride, dim, gathered_ + key * dim);
    return {gathered_, dim};
  }

  // Into L2: asking for as much in L1 keeps its few miss buffers from the loads themselves.
  FUSEDOPS_INLINE void prefetch(const T* source) {
    for (size_t byte = 0; byte < kPairLanes * sizeof(T); byte += 64)
      __builtin_prefetch(reinterpret_cast<const char*>(source) + byte, 0, 2);
  }

  void attend(const KeyRange& keys, bool finite, const SoftmaxState& state) {
    RowSoftmax softmax[kMaxRows];
    for (RowSoftmax& row : softmax) row = {kMinusInfinity, Vec{}};
    float rescale[kMaxRows];
    for (int64_t first = keys.first; first < keys.last; first += kKeys) {
      const KeyRange tile{first, smaller(first + kKeys, keys.last)};
      const bool full = visibility_.is_full(tile) && problem_.softcap == 0;
      const TileRows tile_keys = contiguous(k_, tile, problem_.head_dim);
      for_each_group(block_.rows(),
                     [&]<class Rows>(int64_t row, Rows) { multiply_keys<Rows::value>(tile_keys, tile, row); });
      for (int64_t row = 0; row < block_.rows(); ++row) {
        float* scores = scores_ + row * kKeys;
        if (!full) visibility_.apply(row, tile, scores);
        rescale[row] = weigh(scores, tile.count(), softmax[row]);
      }
      const TileRows values = contiguous(v_, tile, problem_.value_dim);
      if (finite)
        for_each_group(block_.rows(), [&]<class Rows>(int64_t row, Rows) {
          add_values<Rows::value, kSums / Rows::value / 2>(values, tile, rescale, row, 0, state);
        });
      else
        add_visible_values(values, tile.count(), rescale, state);
    }
    for (int64_t row = 0; row < block_.rows(); ++row) {
      state.max[row] = softmax[row].max;
      state.sum[row] = sum_lanes(softmax[row].sums);
    }
  }

  // A row's softmax so far; its sum is left spread over the lanes.
  struct RowSoftmax {
    float max;
    Vec sums;
  };

  // Turns a row's scores into weights and returns the factor for what was accumulated before.
  float weigh(float* scores, int64_t count, RowSoftmax& softmax) {
    for (int64_t i = count; i < round_up(count, kLanes); ++i) scores[i] = kMinusInfinity;
    Vec maxima = load(scores);
    for (int64_t i = kLanes; i < count; i += kLanes) maxima = max(maxima, load(scores + i));
    float rescale = 1.f;
    if (any_greater(maxima, splat(softmax.max))) {  // seldom, after the first tiles
      const float new_max = max_lanes(maxima);
      rescale = exp(softmax.max - new_max);
      softmax = {new_max, softmax.sums * splat(rescale)};
    }
    const Vec reference = splat(finite_or_zero(softmax.max));
    for (int64_t i = 0; i < count; i += kLanes) {
      const Vec weight = exp(load(scores + i) - reference);
      store(scores + i, weight);
      softmax.sums += weight;
    }
    return rescale;
  }

  // scores[row][key] = scale * q[row] . k[key] for a group of rows, some keys together.
  template <int rows>
  void multiply_keys(const TileRows& keys, const KeyRange& tile, int64_t first_row) {
    constexpr int together = kSums / rows;
    const int64_t ahead = kAhead * keys.stride;
    const Operand* queries = queries_ + first_row * query_steps(problem_);
    for (int64_t key = 0; key < tile.count(); key += together) {
      // Where fewer keys are left, the last one takes their places.
      const T* sources[together];
      sources[0] = keys.row(key);
      for (int u = 1; u < together; ++u) sources[u] = sources[u - 1] + (key + u < tile.count() ? keys.stride : 0);
      Vec sums[kSums] = {};
      for_each_pair(problem_.head_dim, [&](int64_t i, auto lanes) {
        const Operand* query = queries + i / kPairLanes * rows;
        auto key_vectors = [&](int u) {
          prefetch(sources[u] + i + ahead);
          return DotOperand<T>::load(sources[u] + i, lanes);
        };
        // Of keys and queries the fewer stay in registers while the others pass by.
        if constexpr (together < rows) {
          Operand held[together];
#pragma GCC unroll 4
          for (int u = 0; u < together; ++u) held[u] = key_vectors(u);
#pragma GCC unroll 4
          for (int r = 0; r < rows; ++r)
#pragma GCC unroll 4
            for (int u = 0; u < together; ++u)
              sums[r * together + u] = multiply_add(query[r], held[u], sums[r * together + u]);
        } else {
#pragma GCC unroll 16
          for (int u = 0; u < together; ++u) {
            const Operand passing = key_vectors(u);
#pragma GCC unroll 4
            for (int r = 0; r < rows; ++r)
              sums[r * together + u] = multiply_add(query[r], passing, sums[r * together + u]);
          }
        }
      });
      float products[kSums];
#pragma GCC unroll 16
      for (int i = 0; i < kSums; i += kLanes) store(products + i, sums_of_lanes(sums + i) * splat(problem_.scale));
      for (int r = 0; r < rows; ++r)
        std::memcpy(scores_ + (first_row + r) * kKeys + key, products + r * together, together * sizeof(float));
    }
  }

  // out = rescale * out + weights * values, from `column` on, `pairs` pairs of vectors at a time while there are.
  template <int rows, int pairs>
  void add_values(const TileRows& values, const KeyRange& tile, const float* rescale, int64_t row, int64_t column,
                  const SoftmaxState& state) {
    for (; column + pairs * kPairLanes <= problem_.value_dim; column += pairs * kPairLanes)
      add_columns<rows, pairs>(values, tile, rescale, row, column, AllLanes{}, state);
    if constexpr (pairs > 1)
      add_values<rows, pairs / 2>(values, tile, rescale, row, column, state);
    else if (column < problem_.value_dim)
      add_columns<rows, 1>(values, tile, rescale, row, column, SomeLanes{problem_.value_dim - column}, state);
  }

  template <int rows, int pairs, class Lanes>
  void add_columns(const TileRows& values, const KeyRange& tile, const float* rescale, int64_t first_row,
                   int64_t column, Lanes lanes, const SoftmaxState& state) {
    const float* weights = scores_ + first_row * kKeys;
    VectorPair sums[rows][pairs] = {};  // of this tile alone: shorter chains of rounding errors
    const int64_t ahead = kAhead * values.stride;
    for (int64_t key = 0; key < tile.count(); ++key) {
      const T* source = values.row(key) + column;
#pragma GCC unroll 8
      for (int p = 0; p < pairs; ++p) {
        prefetch(source + p * kPairLanes + ahead);
        const VectorPair value = load_pair(source + p * kPairLanes, lanes);
#pragma GCC unroll 4
        for (int r = 0; r < rows; ++r) {
          const Vec weight = splat(weights[r * kKeys + key]);
          sums[r][p].first += weight * value.first;
          sums[r][p].second += weight * value.second;
        }
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; ++r) {
      float* out = state.out + (first_row + r) * state.value_stride + column;
      const Vec factor = splat(rescale[first_row + r]);
#pragma GCC unroll 8
      for (int p = 0; p < pairs; ++p) {
        float* cell = out + p * kPairLanes;
        store(cell, load(cell) * factor + sums[r][p].first);
        store(cell + kLanes, load(cell + kLanes) * factor + sums[r][p].second);
      }
    }
  }

  // The same for values that are not all finite: a weight of 0 hides its key, while 0 * NaN would not.
  void add_visible_values(const TileRows& values, int64_t count, const float* rescale, const SoftmaxState& state) {
    for (int64_t row = 0; row < block_.rows(); ++row)
      for_each_pair(problem_.value_dim, [&](int64_t column, auto lanes) {
        VectorPair sum{};
        for (int64_t key = 0; key < count; ++key) {
          const float weight = scores_[row * kKeys + key];
          if (weight == 0.f) continue;
          const VectorPair value = load_pair(values.row(key) + column, lanes);
          sum.first += splat(weight) * value.first;
          sum.second += splat(weight) * value.second;
        }
        float* cell = state.out + row * state.value_stride + column;
        store(cell, load(cell) * splat(rescale[row]) + sum.first);
        store(cell + kLanes, load(cell + kLanes) * splat(rescale[row]) + sum.second);
      });
  }

  bool is_finite(const SoftmaxState& state) const {
    Vec zeros{};
    for (int64_t i = 0; i < block_.rows() * state.value_stride; i += kLanes) zeros += load(state.out + i) * splat(0.f);
    return !has_non_finite(zeros);
  }

  const SdpaProblem& problem_;
  const HeadMatrix<T> k_, v_;
  const RowBlock& block_;
  const Visibility& visibility_;
  Operand* queries_;
  float* scores_;
  T* gathered_;
};

}  // namespace fusedops::cpu::FUSEDOPS_ISA
