#include "mlx/sdpa_varlen_composite.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <utility>

#include "mlx/ops.h"
#include "mlx/visible.h"

namespace fusedops::mlx {
namespace {

mx::array column(const mx::array& x, mx::Stream s) { return mx::expand_dims(x, -1, s); }

mx::array number(int64_t value) { return mx::array(static_cast<int>(value)); }

// Some sequences of one packed array, and how to pad them.
class Sequences {
 public:
  // Where each begins and ends, and what none is longer than.
  Sequences(mx::array first, mx::array end, int64_t total, int64_t longest, mx::Stream s)
      : s_(s),
        total_(static_cast<int>(total)),
        longest_(static_cast<int>(longest)),
        first_(std::move(first)),
        end_(std::move(end)),
        positions_(mx::expand_dims(mx::arange(longest_, mx::int32, s), 0, s)) {}

  int count() const { return first_.shape(0); }
  int longest() const { return longest_; }
  const mx::array& first() const { return first_; }
  const mx::array& end() const { return end_; }
  mx::array lengths() const { return mx::subtract(end_, first_, s_); }

  // (sequences, longest): where there is an element at all.
  mx::array present() const { return mx::less(positions_, column(lengths(), s_), s_); }
  const mx::array& positions() const { return positions_; }

  // (total, heads, dim) -> (sequences, heads, longest, dim), zeros where there is no element.
  mx::array padded(const mx::array& packed) const {
    const int heads = packed.shape(1), dim = packed.shape(2);
    if (dim == 0)
      return mx::zeros({count(), heads, longest_, dim}, packed.dtype(), s_);  // take's gradient divides by it
    const mx::array index = mx::add(column(first_, s_), positions_, s_);
    const mx::array within = mx::clip(index, number(0), number(total_ - 1), s_);
    const mx::array rows = mx::take(packed, within, 0, s_);
    return mx::swapaxes(keep(rows, mx::expand_dims(present(), {2, 3}, s_), 0, s_), 1, 2, s_);
  }

 private:
  mx::Stream s_;
  int total_, longest_;
  mx::array first_, end_, positions_;
};

// Sequences that are padded to the same lengths.
struct Group {
  Sequences queries;
  Sequences keys;
};

// What is computed: groups of padded sequences, one behind the other.
struct Batches {
  std::vector<Group> groups;
  mx::array rows;  // (total queries,): which of all padded queries each is
};

// Whether the sequences cover the packed array, none being too long.
mx::array fit(const mx::array& cu_seqlens, int64_t sequences, int64_t total, int64_t max_length, mx::Stream s) {
  const int count = static_cast<int>(sequences);
  const mx::array first = mx::slice(cu_seqlens, {0}, {count}, s), end = mx::slice(cu_seqlens, {1}, {count + 1}, s);
  const auto offset_is = [&](int index, int64_t value) {
    return mx::all(mx::equal(mx::slice(cu_seqlens, {index}, {index + 1}, s), number(value), s), s);
  };
  const mx::array lengths = mx::subtract(end, first, s);
  const mx::array long_enough = mx::greater_equal(lengths, number(0), s);
  const mx::array short_enough = mx::less_equal(lengths, number(std::min(max_length, total)), s);
  const mx::array ends = mx::logical_and(offset_is(0, 0), offset_is(count, total), s);
  return mx::logical_and(mx::all(mx::logical_and(long_enough, short_enough, s), s), ends, s);
}

// The rows of the only group.
mx::array rows_of(const Sequences& all, int64_t total, mx::Stream s) {
  const mx::array elements = mx::arange(static_cast<int>(total), mx::int32, s);
  const mx::array after = mx::greater_equal(column(elements, s), mx::expand_dims(all.end(), 0, s), s);
  const mx::array ended = mx::sum(mx::astype(after, mx::int32, s), -1, false, s);
  const mx::array sequence = mx::minimum(ended, number(all.count() - 1), s);
  const mx::array position = mx::subtract(elements, mx::take(all.first(), sequence, 0, s), s);
  const mx::array within = mx::clip(position, number(0), number(all.longest() - 1), s);
  return mx::add(mx::multiply(sequence, number(all.longest()), s), within, s);
}

// All sequences in one group.
Batches together(const SdpaVarlenArrays& arrays, const SdpaVarlenProblem& problem, mx::Stream s) {
  const int count = static_cast<int>(problem.sequences);
  const auto all = [&](const mx::array& cu_seqlens, int64_t total, int64_t max_length) {
    return Sequences(mx::slice(cu_seqlens, {0}, {count}, s), mx::slice(cu_seqlens, {1}, {count + 1}, s), total,
                     std::max<int64_t>(std::min(max_length, total), 1), s);
  };
  const Sequences queries = all(arrays.cu_seqlens_q, problem.total_queries, problem.longest.query_length);
  const Sequences keys = all(arrays.cu_seqlens_k, problem.total_keys, problem.longest.key_length);
  return {{{queries, keys}}, rows_of(queries, problem.total_queries, s)};
}

// Sequences of similar lengths in each group: neither length is twice another's, so that at most three quarters of what
// is computed is padding.
Batches in_groups(const std::vector<SdpaSequence>& sequences, const SdpaVarlenProblem& problem, mx::Stream s) {
  std::map<std::pair<int, int>, std::vector<SdpaSequence>> members;
  for (const SdpaSequence& sequence : sequences) {
    const auto [queries, keys] = std::pair(sequence.problem.query_length, sequence.problem.key_length);
    if (queries > 0) members[{std::bit_width(uint64_t(queries)), std::bit_width(uint64_t(keys))}].push_back(sequence);
  }
  std::vector<Group> groups;
  std::vector<int> rows(problem.total_queries);
  int64_t first_row = 0;
  for (const auto& [_, group] : members) {
    const auto packed = [&](int64_t SdpaSequence::* first, int64_t SdpaProblem::* length, int64_t total) {
      std::vector<int> begin, end;
      int64_t longest = 1;
      for (const SdpaSequence& sequence : group) {
        begin.push_back(static_cast<int>(sequence.*first));
        end.push_back(static_cast<int>(sequence.*first + sequence.problem.*length));
        longest = std::max(longest, sequence.problem.*length);
      }
      const mx::Shape shape{static_cast<int>(group.size())};
      return Sequences(mx::array(begin.data(), shape), mx::array(end.data(), shape), total, longest, s);
    };
    groups.push_back({packed(&SdpaSequence::first_query, &SdpaProblem::query_length, problem.total_queries),
                      packed(&SdpaSequence::first_key, &SdpaProblem::key_length, problem.total_keys)});
    for (const SdpaSequence& sequence : group) {
      const auto begin = rows.begin() + sequence.first_query;
      std::iota(begin, begin + sequence.problem.query_length, static_cast<int>(first_row));
      first_row += groups.back().queries.longest();
    }
  }
  return {std::move(groups), mx::array(rows.data(), {static_cast<int>(rows.size())})};
}

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

SdpaOutputs attend(const Group& group, const SdpaVarlenArrays& arrays, const SdpaVarlenProblem& problem,
                   const SdpaOptions& options, mx::Stream s) {
  const auto& [queries, keys] = group;
  const SdpaArrays padded{queries.padded(arrays.q), keys.padded(arrays.k), keys.padded(arrays.v),
                          visible(queries, keys, problem, s), arrays.sinks};
  SdpaProblem batch = problem.longest;
  batch.batch = queries.count();
  batch.query_length = queries.longest();
  batch.key_length = keys.longest();
  batch.band = {};  // the mask has it
  return sdpa_composite(padded, batch, options, s);
}

// x, or NaN throughout; its cotangent likewise.
mx::array nan_unless(const OptionalArray& condition, const mx::array& x, mx::Stream s) {
  if (!condition) return x;
  const mx::array nan(std::numeric_limits<float>::quiet_NaN());
  return mx::multiply(x, mx::astype(mx::where(*condition, mx::array(1.f), nan, s), x.dtype(), s), s);
}

SdpaOutputs without_scores(const SdpaVarlenProblem& problem, mx::Stream s) {
  const mx::array nothing_seen(-std::numeric_limits<float>::infinity());
  return {mx::zeros(to_mlx(problem.output().shape), to_mlx(problem.longest.dtype), s),
          mx::full(to_mlx(problem.logsumexp().shape), nothing_seen, s)};
}

SdpaOutputs with_scores(const SdpaVarlenArrays& arrays, const SdpaVarlenProblem& problem, const SdpaOptions& options,
                        const std::vector<SdpaSequence>* known, mx::Stream s) {
  const auto [groups, rows] = known ? in_groups(*known, problem, s) : together(arrays, problem, s);
  Arrays outs, logsumexps;
  for (const Group& group : groups) {
    const auto [out, logsumexp] = attend(group, arrays, problem, options, s);
    outs.push_back(out);
    logsumexps.push_back(logsumexp);
  }
  // Each group's (sequences, heads, longest, ...) -> (total, heads, ...)
  const auto packed = [&](const Arrays& padded) {
    Arrays all;
    for (const mx::array& each : padded) all.push_back(mx::flatten(mx::swapaxes(each, 1, 2, s), 0, 1, s));
    return mx::take(mx::concatenate(std::move(all), 0, s), rows, 0, s);
  };
  return {mx::astype(packed(outs), arrays.q.dtype(), s), mx::transpose(packed(logsumexps), s)};
}

}  // namespace

SdpaOutputs sdpa_varlen_composite(SdpaVarlenArrays arrays, const SdpaVarlenProblem& problem, const SdpaOptions& options,
                                  const std::vector<SdpaSequence>* known, mx::Stream s) {
  arrays.cu_seqlens_q = mx::stop_gradient(arrays.cu_seqlens_q, s);
  arrays.cu_seqlens_k = mx::stop_gradient(arrays.cu_seqlens_k, s);
  const SdpaProblem& longest = problem.longest;
  OptionalArray covered;
  if (!known) {
    covered =
        mx::logical_and(fit(arrays.cu_seqlens_q, problem.sequences, problem.total_queries, longest.query_length, s),
                        fit(arrays.cu_seqlens_k, problem.sequences, problem.total_keys, longest.key_length, s), s);
    for (mx::array* x : {&arrays.q, &arrays.k, &arrays.v}) *x = nan_unless(covered, *x, s);  // for their gradients
  }
  const Shape scores{longest.query_heads, problem.sequences, problem.total_queries, problem.total_keys};
  const auto [out, logsumexp] =
      element_count(scores) == 0 ? without_scores(problem, s) : with_scores(arrays, problem, options, known, s);
  return {nan_unless(covered, out, s), nan_unless(covered, logsumexp, s)};
}

}  // namespace fusedops::mlx
