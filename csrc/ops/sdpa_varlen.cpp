#include "ops/sdpa_varlen.h"

#include "ops/checks.h"

namespace fusedops {
namespace {

void check_arrays(const ArrayInfo& q, const ArrayInfo& k, const ArrayInfo& v, const std::optional<ArrayInfo>& sinks) {
  checks::floating("q", q);
  checks::same_dtype("k", k, "q", q);
  checks::same_dtype("v", v, "q", q);
  checks::rank_is("q", q, 3, "(total_queries, query_heads, head_dim)");
  checks::rank_is("k", k, 3, "(total_keys, kv_heads, head_dim)");
  checks::rank_is("v", v, 3, "(total_keys, kv_heads, value_dim)");
  checks::shape_is("k", k, {k.shape[0], k.shape[1], q.shape[2]}, ", with q's head_dim");
  checks::shape_is("v", v, {k.shape[0], k.shape[1], v.shape[2]}, ", with k's total_keys and kv_heads");
  if (sinks) checks::shape_is("sinks", *sinks, {q.shape[1]}, ", one for each query head");
}

void check_offsets(std::string_view name, const ArrayInfo& offsets) {
  if (offsets.dtype != DType::int32) checks::fail<TypeError>(name, " must be int32, got ", dtype_name(offsets));
  if (offsets.shape.size() != 1 || offsets.shape[0] == 0)
    checks::fail<ValueError>(name, " must have shape (sequences + 1,), got ", checks::to_string(offsets.shape));
}

void check_longest(std::string_view name, int64_t length) {
  if (length < 0) checks::fail<ValueError>(name, " must not be negative, got ", length);
}

std::vector<int64_t> values_of(const ArrayView& offsets) {
  std::vector<int64_t> values(offsets.shape[0]);
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = static_cast<const int32_t*>(offsets.data)[static_cast<int64_t>(i) * offsets.strides[0]];
  return values;
}

}  // namespace

SdpaVarlenProblem sdpa_varlen_problem(const ArrayInfo& q, const ArrayInfo& k, const ArrayInfo& v,
                                      const ArrayInfo& cu_seqlens_q, const ArrayInfo& cu_seqlens_k,
                                      const std::optional<ArrayInfo>& sinks, int64_t max_seqlen_q, int64_t max_seqlen_k,
                                      const SdpaOptions& options) {
  check_arrays(q, k, v, sinks);
  check_offsets("cu_seqlens_q", cu_seqlens_q);
  check_offsets("cu_seqlens_k", cu_seqlens_k);
  checks::shape_is("cu_seqlens_k", cu_seqlens_k, cu_seqlens_q.shape, ", as cu_seqlens_q has");
  check_longest("max_seqlen_q", max_seqlen_q);
  check_longest("max_seqlen_k", max_seqlen_k);
  const auto longest = [](const ArrayInfo& array, int64_t length) {
    return ArrayInfo{array.dtype, {1, array.shape[1], length, array.shape[2]}};
  };
  return {
      .longest = sdpa_problem(longest(q, max_seqlen_q), longest(k, max_seqlen_k), longest(v, max_seqlen_k),
                              std::nullopt, sinks, options),
      .causal = options.causal,
      .sequences = cu_seqlens_q.shape[0] - 1,
      .total_queries = q.shape[0],
      .total_keys = k.shape[0],
  };
}

void check_cu_seqlens(char letter, const std::vector<int64_t>& values, int64_t total, int64_t longest) {
  const std::string name = std::string("cu_seqlens_") + letter;
  if (values.front() != 0) checks::fail<ValueError>(name, " must begin with 0, got ", values.front());
  for (size_t i = 1; i < values.size(); ++i) {
    const int64_t length = values[i] - values[i - 1];
    if (length < 0) checks::fail<ValueError>(name, " must not decrease, got ", values[i], " after ", values[i - 1]);
    if (length > longest)
      checks::fail<ValueError>("max_seqlen_", std::string(1, letter), " must be at least ", length,
                               ", the length of a sequence in ", name, ", got ", longest);
  }
  if (values.back() != total)
    checks::fail<ValueError>(name, " must end with ", total, ", the length of ", std::string(1, letter), ", got ",
                             values.back());
}

std::vector<SdpaSequence> sdpa_sequences(const SdpaVarlenProblem& problem, const ArrayView& cu_seqlens_q,
                                         const ArrayView& cu_seqlens_k) {
  const std::vector<int64_t> queries = values_of(cu_seqlens_q), keys = values_of(cu_seqlens_k);
  check_cu_seqlens('q', queries, problem.total_queries, problem.longest.query_length);
  check_cu_seqlens('k', keys, problem.total_keys, problem.longest.key_length);
  std::vector<SdpaSequence> sequences;
  sequences.reserve(problem.sequences);
  for (int64_t i = 0; i < problem.sequences; ++i) {
    SdpaSequence sequence{problem.longest, queries[i], keys[i]};
    SdpaProblem& own = sequence.problem;
    own.query_length = queries[i + 1] - queries[i];
    own.key_length = keys[i + 1] - keys[i];
    own.band.offset = problem.causal == Causal::upper_left ? 0 : own.key_length - own.query_length;
    sequences.push_back(sequence);
  }
  return sequences;
}

}  // namespace fusedops
