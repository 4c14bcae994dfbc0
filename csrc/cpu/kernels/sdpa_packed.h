// Attention of many query rows over a tile of keys by two register-blocked matrix products (Goto & van de Geijn 2008,
// https://doi.org/10.1145/1356052.1356053) with online softmax between. The scores of a tile are kept transposed, the
// query rows in the lanes: so softmax needs no sums across lanes, keys are multiplied as they lie in memory, and the
// weights come out in the order in which the second product reads them.
#pragma once

#include "cpu/interruption.h"
#include "cpu/kernels/math.h"
#include "cpu/kernels/sdpa_microkernel_amx.h"
#include "cpu/kernels/sdpa_tile.h"
#include "cpu/kernels/transpose.h"

namespace fusedops::cpu::FUSEDOPS_ISA {

template <class T>
class PackedAttention {
  using P = Products<T>;
  using M = Microkernel<T>;

 public:
  static int64_t value_stride(const SdpaProblem& problem) { return round_up(problem.value_dim, kLanes); }
  static int64_t padded_rows(int64_t rows) { return round_up(rows, kPanel); }
  static int64_t scratch_floats(const SdpaProblem& problem, int64_t rows) {
    return kKeys * (kPanel + kLanes) + kPanelWeights + packed_floats(problem.value_dim) +
           (kKeys + padded_rows(rows)) * key_stride(problem);
  }

  PackedAttention(const SdpaSequence& sequence, const SdpaBuffers& buffers, const RowBlock& block,
                  const Visibility& visibility, float* scratch)
      : problem_(sequence.problem),
        k_(buffers.k, block.batch, block.kv_head, sequence.first_key),
        v_(buffers.v, block.batch, block.kv_head, sequence.first_key),
        block_(block),
        visibility_(visibility),
        key_stride_(key_stride(problem_)),
        natural_scores_(visibility.has_mask() || problem_.softcap > 0 || !(problem_.scale > 0)),
        unit_(natural_scores_ ? 1.f : problem_.scale) {
    scores_ = scratch;
    biases_ = scores_ + kKeys * kPanel;
    weights_ = biases_ + kKeys * kLanes;
    values_ = weights_ + kPanelWeights;
    keys_ = values_ + packed_floats(problem_.value_dim);
    queries_ = keys_ + kKeys * key_stride_;
    pack_queries(buffers.q, sequence.first_query);
  }

  void attend(const KeyRange& keys, const SoftmaxState& state) {
    [[maybe_unused]] const typename M::Session session{};
    for (int64_t first = keys.first; first < keys.last; first += kKeys) {
      const KeyRange tile{first, smaller(first + kKeys, keys.last)};
      pack_keys(tile);
      const bool finite = pack_values(tile);
      for (int64_t row = 0; row < block_.rows(); row += kPanel) attend_panel(tile, row, finite, state);
      interruption_point();
    }
    for (int64_t row = 0; row < block_.rows(); ++row) state.max[row] *= unit_;
  }

 private:
  static constexpr int64_t kKeys = M::kKeys;
  static constexpr int kStrip = M::kRows;
  static constexpr int64_t kDepth = kKeys / P::kTerms;  // of the second product, in lanes
  static constexpr int64_t kPanelWeights = M::kNeighbouringDepth ? kPanel * kDepth : 0;
  static_assert(kPanel % kStrip == 0 && kKeys % kStrip == 0 && kKeys % kLanes == 0);
  static_assert(kStrip % (P::kTerms * M::kDepthStep) == 0 && kLanes % M::kDepthStep == 0);

  // --- packing
  static int64_t key_stride(const SdpaProblem& problem) {
    return round_up(problem.head_dim, kLanes * P::kTerms) / P::kTerms;
  }

  // `count` elements from `column` on of a row of `columns`, zeros beyond its end, as `load_whole` makes lanes of them.
  template <int64_t count, class Load>
  FUSEDOPS_INLINE Vec load_part(const T* row, int64_t stride, int64_t column, int64_t columns, Load&& load_whole) {
    if (stride == 1 && column + count <= columns) return load_whole(row + column);
    T padded[count] = {};
    gather(row + column * stride, stride, smaller(count, columns - column), padded);
    return load_whole(padded);
  }
  FUSEDOPS_INLINE Vec load_terms(const T* row, int64_t stride, int64_t column, int64_t columns) {
    return load_part<kLanes * P::kTerms>(row, stride, column, columns, [](const T* at) { return P::load_terms(at); });
  }
  FUSEDOPS_INLINE Vec load_floats(const T* row, int64_t stride, int64_t column, int64_t columns) {
    return load_part<kLanes>(row, stride, column, columns, [](const T* at) { return load(at); });
  }

  // Panels of kPanel rows, column-major. Missing rows of the last one are zeros.
  void pack_queries(const ArrayView& q, int64_t first_query) {
    for (int64_t first = 0; first < padded_rows(block_.rows()); first += kLanes) {
      const int64_t present = smaller(kLanes, block_.rows() - first);
      float* panel = queries_ + first / kPanel * kPanel * key_stride_ + first % kPanel;
      for (int64_t d = 0; d < key_stride_; d += kLanes) {
        Vec rows[kLanes] = {};
        for (int64_t i = 0; i < present; ++i) {
          const HeadMatrix<T> matrix(q, block_.batch, block_.head(first + i), first_query);
          const T* row = matrix.row(block_.query(first + i));
          rows[i] = load_terms(row, matrix.column_stride, d * P::kTerms, problem_.head_dim);
        }
        transpose(rows);
        for (int i = 0; i < kLanes; ++i) store(panel + (d + i) * kPanel, rows[i]);
      }
    }
  }

  // As rows. Those beyond the tile's end are left as they were: their scores are unused.
  void pack_keys(const KeyRange& tile) {
    for (int64_t key = 0; key < tile.count(); ++key) {
      const T* row = k_.row(tile.first + key);
      for (int64_t d = 0; d < key_stride_; d += kLanes)
        store(keys_ + key * key_stride_ + d, load_terms(row, k_.column_stride, d * P::kTerms, problem_.head_dim));
    }
  }

  // Panels of kPanel columns, key-major, padded with zeros. Returns whether all values are finite; those that are not
  // are packed as zeros, so that rows which do not see them come out the same.
  bool pack_values(const KeyRange& tile) {
    if (pack_values(tile, [](Vec values) { return values; })) return true;
    pack_values(tile, [](Vec values) { return finite_part(values); });
    return false;
  }
  template <class Change>
  FUSEDOPS_MEMBER_INLINE bool pack_values(const KeyRange& tile, Change&& change) {
    Vec zeros{};
    for (int64_t key = 0; key < round_up(tile.count(), P::kTerms * M::kDepthStep); key += P::kTerms) {
      Vec row_zeros{};
      for (int64_t column = 0; column < value_stride(problem_); column += kLanes) {
        Vec terms[P::kTerms] = {};
        for (int64_t i = 0; i < smaller(P::kTerms, tile.count() - key); ++i) {
          terms[i] = change(load_values(tile.first + key + i, column));
          row_zeros += terms[i] * splat(0.f);
        }
        store(packed_values(key, column), P::join_exact(terms));
      }
      zeros += row_zeros;
    }
    return !has_non_finite(zeros);
  }
  Vec load_values(int64_t key, int64_t column) const {
    return load_floats(v_.row(key), v_.column_stride, column, problem_.value_dim);
  }
  FUSEDOPS_INLINE Vec finite_part(Vec values) { return select(values * splat(0.f) == Vec{}, values, Vec{}); }
  static int64_t packed_floats(int64_t value_dim) { return round_up(value_dim, kPanel) * kDepth; }
  float* packed_values(int64_t key, int64_t column) const {
    return values_ + column / kPanel * (kDepth * kPanel) + key / P::kTerms * kPanel + column % kPanel;
  }

  // --- a tile of keys; what is indexed by keys starts at the tile's first
  // The rows of a vector's lanes or of a strip, and which of the keys any of them may see, from a strip's beginning.
  struct Rows {
    int64_t first;
    int64_t count;
    KeyRange keys;

    bool see(int64_t key) const { return keys.first <= key && key < keys.last; }
  };
  Rows rows_from(int64_t first, int64_t max_count, const KeyRange& tile) const {
    const int64_t count = smaller(max_count, block_.rows() - first);
    if (count <= 0) return {first, 0, {0, 0}};
    const KeyRange keys = seen_by_any(first, count, tile);
    return {first, count, {keys.count() ? keys.first / kStrip * kStrip : keys.last, keys.last}};
  }
  // The rows of half a panel. A strip that is longer needs a weight, if 0, for every key that any of its rows sees.
  Rows half_from(int64_t first, const KeyRange& tile) const {
    Rows rows = rows_from(first, kLanes, tile);
    if (kStrip > kLanes && rows.count > 0) rows.keys = rows_from(first / kStrip * kStrip, kStrip, tile).keys;
    return rows;
  }
  KeyRange seen_by_any(int64_t first, int64_t count, const KeyRange& tile) const {
    return visibility_.seen_by_any(block_.query(first), block_.query(first + count - 1)).within(tile).from(tile.first);
  }
  KeyRange seen_by_all(int64_t first, int64_t count, const KeyRange& tile) const {
    return visibility_.seen_by_all(block_.query(first), block_.query(first + count - 1)).within(tile).from(tile.first);
  }

  void attend_panel(const KeyRange& tile, int64_t first, bool finite_values, const SoftmaxState& state) {
    const Rows halves[] = {half_from(first, tile), half_from(first + kLanes, tile)};
    multiply_keys(queries_ + first * key_stride_, halves);
    float rescale[kPanel];
    for (int half = 0; half < 2; ++half)
      turn_into_weights(tile, halves[half], scores_ + half * kLanes, state, rescale + half * kLanes);
    multiply_values(tile, first, rescale, state);
    if (!finite_values) add_values_not_finite(tile, halves, state);
  }

  // Half a register block where only half of the rows see any of a strip's keys.
  void multiply_keys(const float* queries, const Rows (&halves)[2]) {
    const int64_t first = smaller(halves[0].keys.first, halves[1].keys.first);
    const int64_t last = larger(halves[0].keys.last, halves[1].keys.last);
    const int64_t depth = round_up(ceil_divide(problem_.head_dim, P::kTerms), M::kDepthStep);
    int64_t d = 0;
    do {
      for (int64_t key = first; key < last; key += kStrip) {
        const bool low = halves[0].see(key), high = halves[1].see(key);
        if (low && high)
          multiply_strip<2>(queries, key, 0, d, smaller(M::kMaxDepth, depth - d));
        else if (low || high)
          multiply_strip<1>(queries, key, low ? 0 : kLanes, d, smaller(M::kMaxDepth, depth - d));
      }
      d += M::kMaxDepth;
    } while (d < depth);
  }
  template <int vectors>
  void multiply_strip(const float* queries, int64_t key, int64_t column, int64_t first_lane, int64_t depth) {
    const LeftOperand keys{keys_ + key * key_stride_ + first_lane, key_stride_, 1};
    M::template multiply<vectors>(keys, queries + first_lane * kPanel + column, depth, first_lane > 0,
                                  scores_ + key * kPanel + column, kPanel);
  }

  // Online softmax in each lane: products q.k become weights, joined to lanes of terms.
  void turn_into_weights(const KeyRange& tile, const Rows& rows, float* scores, const SoftmaxState& state,
                         float* rescale) {
    const KeyRange& keys = rows.keys;
    if (keys.count() == 0) return store(rescale, splat(1.f));
    if (natural_scores_) make_natural(keys, scores);
    if (visibility_.has_mask())
      add_biases(tile, rows, scores);
    else
      hide_outside_band(tile, rows, scores);

    const Vec log2_e = splat(unit_ * 1.44269504f);
    float *max = state.max + rows.first, *sum = state.sum + rows.first;
    const Vec old_max = load(max);
    const Vec new_max = largest(keys, scores, old_max);
    const Vec reference = select(new_max == splat(kMinusInfinity), Vec{}, new_max);
    Vec sums{};
    for (int64_t key = keys.first; key < keys.last; key += P::kTerms) {
      Vec weights[P::kTerms] = {};
      for (int64_t i = 0; i < smaller(P::kTerms, keys.last - key); ++i) {
        weights[i] = exp2((load(scores + (key + i) * kPanel) - reference) * log2_e);
        sums += weights[i];
      }
      store(scores + key / P::kTerms * kPanel, P::join(weights));
    }
    const Vec factor = exp2((old_max - reference) * log2_e);
    store(max, new_max);
    store(sum, load(sum) * factor + sums);
    store(rescale, factor);
  }

  // In four chains, which do not wait for each other.
  FUSEDOPS_INLINE Vec largest(const KeyRange& keys, const float* scores, Vec start) {
    Vec chains[4] = {start, start, start, start};
    for (int64_t key = keys.first; key < keys.last; key += 4)
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i)
        chains[i] = cpu::FUSEDOPS_ISA::max(chains[i], load(scores + smaller(key + i, keys.last - 1) * kPanel));
    return cpu::FUSEDOPS_ISA::max(cpu::FUSEDOPS_ISA::max(chains[0], chains[1]),
                                  cpu::FUSEDOPS_ISA::max(chains[2], chains[3]));
  }

  // From products q.k to what a mask can be added to.
  void make_natural(const KeyRange& keys, float* scores) {
    const Vec scale = splat(problem_.scale), softcap = splat(problem_.softcap);
    for (int64_t key = keys.first; key < keys.last; ++key) {
      const Vec score = load(scores + key * kPanel) * scale;
      store(scores + key * kPanel, problem_.softcap > 0 ? cap(score, softcap) : score);
    }
  }

  // The mask's rows become columns.
  void add_biases(const KeyRange& tile, const Rows& rows, float* scores) {
    for (int64_t r = 0; r < rows.count; ++r) {
      float* biases = biases_ + r * kKeys;
      for (int64_t key = 0; key < tile.count(); ++key) biases[key] = 0.f;
      visibility_.add_mask_and_band(rows.first + r, tile, biases);
    }
    for (int64_t key = rows.keys.first / kLanes * kLanes; key < rows.keys.last; key += kLanes) {
      Vec biases[kLanes];
      for (int i = 0; i < kLanes; ++i) biases[i] = load(biases_ + i * kKeys + key);
      transpose(biases);
      for (int i = 0; i < kLanes; ++i) {
        float* score = scores + (key + i) * kPanel;
        store(score, add_bias(load(score), biases[i]));
      }
    }
  }

  void hide_outside_band(const KeyRange& tile, const Rows& rows, float* scores) {
    const KeyRange all = seen_by_all(rows.first, rows.count, tile);
    if (all.first <= rows.keys.first && all.last >= rows.keys.last) return;
    int32_t first[kLanes], last[kLanes];
    for (int r = 0; r < kLanes; ++r) {
      const KeyRange seen = seen_by_any(rows.first + smaller(r, rows.count - 1), 1, tile);
      first[r] = static_cast<int32_t>(seen.first);
      last[r] = static_cast<int32_t>(seen.last);
    }
    IntVec firsts, lasts;
    std::memcpy(&firsts, first, sizeof firsts);
    std::memcpy(&lasts, last, sizeof lasts);
    const auto hide = [&](int64_t from, int64_t to) {
      for (int64_t key = from; key < to; ++key) {
        const IntVec position = static_cast<int32_t>(key) - IntVec{};
        const Vec score = select(firsts <= position, load(scores + key * kPanel), splat(kMinusInfinity));
        store(scores + key * kPanel, select(position < lasts, score, splat(kMinusInfinity)));
      }
    };
    hide(rows.keys.first, smaller(rows.keys.last, all.first));
    hide(larger(rows.keys.first, all.last), rows.keys.last);
  }

  void multiply_values(const KeyRange& tile, int64_t first, const float* rescale, const SoftmaxState& state) {
    Rows strips[kPanel / kStrip];
    for (int i = 0; i < kPanel / kStrip; ++i) strips[i] = rows_from(first + i * kStrip, kStrip, tile);
    if constexpr (M::kNeighbouringDepth)
      for (const Rows& rows : strips) transpose_weights(rows.first - first, lanes_of(rows.keys));
    for (int64_t column = 0; column < state.value_stride; column += kPanel)
      for (const Rows& rows : strips) {
        if (rows.keys.count() == 0) continue;
        if (column + kLanes < state.value_stride)
          add_product<2>(rows, column, rescale, state);
        else
          add_product<1>(rows, column, rescale, state);
      }
  }
  KeyRange lanes_of(const KeyRange& keys) const { return {keys.first / P::kTerms, ceil_divide(keys.last, P::kTerms)}; }
  void transpose_weights(int64_t first_row, const KeyRange& lanes) {
    for (int64_t lane = lanes.last; lane < round_up(lanes.last, M::kDepthStep); ++lane)
      for (int64_t row = first_row; row < first_row + kStrip; row += kLanes)
        store(scores_ + lane * kPanel + row, Vec{});
    for (int64_t row = first_row; row < first_row + kStrip; row += kLanes)
      for (int64_t lane = lanes.first; lane < lanes.last; lane += kLanes) {
        Vec block[kLanes];
        for (int i = 0; i < kLanes; ++i) block[i] = load(scores_ + (lane + i) * kPanel + row);
        transpose(block);
        for (int i = 0; i < kLanes; ++i) store(weights_ + (row + i) * kDepth + lane, block[i]);
      }
  }
  template <int vectors>
  void add_product(const Rows& rows, int64_t column, const float* rescale, const SoftmaxState& state) {
    const int64_t row = rows.first % kPanel;
    const KeyRange lanes = lanes_of(rows.keys);
    LeftOperand weights{scores_ + lanes.first * kPanel + row, 1, kPanel};
    if constexpr (M::kNeighbouringDepth) weights = {weights_ + row * kDepth + lanes.first, kDepth, 1};
    M::template rescale_and_add<vectors>(weights, packed_values(rows.keys.first, column),
                                         round_up(lanes.count(), M::kDepthStep), rescale + row,
                                         state.out + rows.first * state.value_stride + column, state.value_stride);
  }

  // Of a tile's values, those that are not finite: a weight of 0 hides its key, while 0 * NaN would not.
  void add_values_not_finite(const KeyRange& tile, const Rows (&halves)[2], const SoftmaxState& state) {
    for (int64_t key = 0; key < tile.count(); ++key)
      for (int64_t column = 0; column < state.value_stride; column += kLanes) {
        const Vec values = load_values(tile.first + key, column);
        const Vec not_finite = values - finite_part(values);
        if (!has_non_finite(not_finite * splat(0.f))) continue;
        for (const Rows& rows : halves)
          for (int64_t row = rows.first; rows.see(key) && row < rows.first + rows.count; ++row) {
            const float lane = scores_[key / P::kTerms * kPanel + row - halves[0].first];
            const Vec weight = P::term(splat(lane), key % P::kTerms);
            float* out = state.out + row * state.value_stride + column;
            if (weight[0] != 0.f) store(out, load(out) + weight * not_finite);
          }
      }
  }

  const SdpaProblem& problem_;
  const HeadMatrix<T> k_, v_;
  const RowBlock& block_;
  const Visibility& visibility_;
  const int64_t key_stride_;
  const bool natural_scores_;  // scores are what is exponentiated; else they are products q.k still
  const float unit_;           // times a score: what is exponentiated
  float *scores_, *biases_, *weights_, *values_, *keys_, *queries_;
};

}  // namespace fusedops::cpu::FUSEDOPS_ISA
