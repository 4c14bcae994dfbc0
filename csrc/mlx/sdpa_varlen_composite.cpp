#include "mlx/sdpa_varlen_composite.h"

#include <algorithm>
#include <limits>

#include "mlx/ops.h"
#include "mlx/visible.h"

namespace fusedops::mlx {
namespace {

mx::array column(const mx::array& x, mx::Stream s) { return mx::expand_dims(x, -1, s); }

mx::array number(int64_t value) { return mx::array(static_cast<int>(value)); }

// The sequences of one packed array, and how to pad and unpad it.
class Sequences {
 public:
  Sequences(const mx::array& cu_seqlens, int64_t total, int64_t max_length, mx::Stream s)
      : s_(s),
        total_(static_cast<int>(total)),
        max_length_(static_cast<int>(std::min(max_length, total))),
        longest_(std::max(max_length_, 1)),
        count_(cu_seqlens.shape(0) - 1),
        first_(mx::slice(cu_seqlens, {0}, {count_}, s)),
        end_(mx::slice(cu_seqlens, {1}, {count_ + 1}, s)),
        positions_(mx::expand_dims(mx::arange(longest_, mx::int32, s), 0, s)),
        fit_(fit(cu_seqlens)) {}

  mx::array lengths() const { return mx::subtract(end_, first_, s_); }

  // (sequences, longest): where there is an element at all.
  mx::array present() const { return mx::less(positions_, column(lengths(), s_), s_); }
  const mx::array& positions() const { return positions_; }

  // Whether the sequences cover the packed array, none being too long.
  const mx::array& fit() const { return fit_; }

  // (total, heads, dim) -> (sequences, heads, longest, dim), zeros where there is no element.
  mx::array padded(const mx::array& packed) const {
    const mx::array index = mx::add(column(first_, s_), positions_, s_);
    const mx::array within = mx::clip(index, number(0), number(total_ - 1), s_);
    const mx::array rows = mx::take(packed, within, 0, s_);
    return mx::swapaxes(keep(rows, mx::expand_dims(present(), {2, 3}, s_), 0, s_), 1, 2, s_);
  }

  // (sequences, heads, longest, ...) -> (total, heads, ...)
  mx::array packed(const mx::array& padded) const {
    const mx::array elements = mx::arange(total_, mx::int32, s_);
    const mx::array after = mx::greater_equal(column(elements, s_), mx::expand_dims(end_, 0, s_), s_);
    const mx::array ended = mx::sum(mx::astype(after, mx::int32, s_), -1, false, s_);
    const mx::array sequence = mx::minimum(ended, number(count_ - 1), s_);
    const mx::array position = mx::subtract(elements, mx::take(first_, sequence, 0, s_), s_);
    const mx::array within = mx::clip(position, number(0), number(longest_ - 1), s_);
    const mx::array rows = mx::flatten(mx::swapaxes(padded, 1, 2, s_), 0, 1, s_);
    return mx::take(rows, mx::add(mx::multiply(sequence, number(longest_), s_), within, s_), 0, s_);
  }

 private:
  mx::array fit(const mx::array& cu_seqlens) const {
    const auto offset_is = [&](int index, int value) {
      return mx::all(mx::equal(mx::slice(cu_seqlens, {index}, {index + 1}, s_), number(value), s_), s_);
    };
    const mx::array long_enough = mx::greater_equal(lengths(), number(0), s_);
    const mx::array each = mx::logical_and(long_enough, mx::less_equal(lengths(), number(max_length_), s_), s_);
    const mx::array ends = mx::logical_and(offset_is(0, 0), offset_is(count_, total_), s_);
    return mx::logical_and(mx::all(each, s_), ends, s_);
  }

  mx::Stream s_;
  int total_, max_length_, longest_, count_;
  mx::array first_, end_, positions_, fit_;
};

// (sequences, 1, longest query, longest key): both are present, and the key is within its sequence's band.
mx::array visible(const Sequences& queries, const Sequences& keys, const SdpaVarlenProblem& problem, mx::Stream s) {
  const mx::array present = mx::logical_and(column(queries.present(), s), mx::expand_dims(keys.present(), 1, s), s);
  const Band& band = problem.longest.band;
  mx::array offset = mx::astype(queries.positions(), mx::int64, s);
  if (problem.causal != Causal::upper_left)
    offset = mx::add(offset, column(mx::subtract(keys.lengths(), queries.lengths(), s), s), s);
  const mx::array distance = mx::subtract(mx::expand_dims(keys.positions(), 0, s), column(offset, s), s);
  const mx::array in_band = mx::logical_and(mx::greater_equal(distance, mx::array(-band.left), s),
                                            mx::less_equal(distance, mx::array(band.right), s), s);
  return mx::expand_dims(mx::logical_and(present, in_band, s), 1, s);
}

mx::array nan_unless(const mx::array& condition, const mx::array& x, mx::Stream s) {
  return mx::where(condition, x, mx::array(std::numeric_limits<float>::quiet_NaN(), x.dtype()), s);
}

}  // namespace

SdpaOutputs sdpa_varlen_composite(const SdpaVarlenArrays& arrays, const SdpaVarlenProblem& problem,
                                  const SdpaOptions& options, mx::Stream s) {
  const SdpaProblem& longest = problem.longest;
  const mx::array cu_seqlens_q = mx::stop_gradient(arrays.cu_seqlens_q, s);
  const mx::array cu_seqlens_k = mx::stop_gradient(arrays.cu_seqlens_k, s);
  const Sequences queries(cu_seqlens_q, problem.total_queries, longest.query_length, s);
  const Sequences keys(cu_seqlens_k, problem.total_keys, longest.key_length, s);
  const mx::array fit = mx::logical_and(queries.fit(), keys.fit(), s);
  const bool no_scores = longest.query_heads * problem.sequences * problem.total_queries * problem.total_keys == 0;
  if (no_scores) {
    const mx::array zeros = mx::zeros(to_mlx(problem.output().shape), to_mlx(longest.dtype), s);
    const mx::array nothing_seen(-std::numeric_limits<float>::infinity());
    return {nan_unless(fit, zeros, s),
            nan_unless(fit, mx::full(to_mlx(problem.logsumexp().shape), nothing_seen, s), s)};
  }
  const SdpaArrays padded{queries.padded(arrays.q), keys.padded(arrays.k), keys.padded(arrays.v),
                          visible(queries, keys, problem, s), arrays.sinks};
  SdpaProblem batch = longest;
  batch.batch = problem.sequences;
  batch.query_length = padded.q.shape(2);
  batch.key_length = padded.k.shape(2);
  batch.band = {};  // the mask has it
  const auto [out, logsumexp] = sdpa_composite(padded, batch, options, s);
  return {nan_unless(fit, mx::astype(queries.packed(out), arrays.q.dtype(), s), s),
          nan_unless(fit, mx::transpose(queries.packed(logsumexp), s), s)};
}

}  // namespace fusedops::mlx
