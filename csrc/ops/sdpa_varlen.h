// Attention of packed sequences, each to its own keys: the sequences of a batch lie one behind the other without
// padding, and cu_seqlens_q and cu_seqlens_k say where they begin and end. The convention of flash-attention,
// https://github.com/Dao-AILab/flash-attention.
#pragma once

#include <vector>

#include "ops/sdpa.h"

namespace fusedops {

struct SdpaVarlenProblem {
  SdpaProblem longest;  // of one sequence that is as long as any may be
  Causal causal;
  int64_t sequences;
  int64_t total_queries;
  int64_t total_keys;

  ArrayInfo output() const { return {longest.dtype, {total_queries, longest.query_heads, longest.value_dim}}; }
  ArrayInfo logsumexp() const { return {DType::float32, {longest.query_heads, total_queries}}; }
};

// The longest sequences' lengths are the caller's word. Throws ValueError or TypeError.
SdpaVarlenProblem sdpa_varlen_problem(const ArrayInfo& q, const ArrayInfo& k, const ArrayInfo& v,
                                      const ArrayInfo& cu_seqlens_q, const ArrayInfo& cu_seqlens_k,
                                      const std::optional<ArrayInfo>& sinks, int64_t max_seqlen_q, int64_t max_seqlen_k,
                                      const SdpaOptions& options);

// One of a call's sequences: a problem of sdpa with a batch of one, and where its rows begin in the packed arrays.
struct SdpaSequence {
  SdpaProblem problem;
  int64_t first_query = 0;
  int64_t first_key = 0;
};

// Throws ValueError where the values of cu_seqlens_q or cu_seqlens_k, by its last letter, do not cover `total` elements
// in sequences of at most `longest`.
void check_cu_seqlens(char letter, const std::vector<int64_t>& values, int64_t total, int64_t longest);

// By the values of cu_seqlens_q and cu_seqlens_k, read from memory. Throws ValueError where they do not fit.
std::vector<SdpaSequence> sdpa_sequences(const SdpaVarlenProblem& problem, const ArrayView& cu_seqlens_q,
                                         const ArrayView& cu_seqlens_k);

// How Metal computes it, without a look at cu_seqlens_q and cu_seqlens_k: where they do not fit, the results are NaN.
// Of the arrays only their layout counts. The outputs are out, and the logsumexp where asked for.
Plan sdpa_varlen_plan(const SdpaVarlenProblem& problem, const ArrayView& q, const ArrayView& k, const ArrayView& v,
                      const ArrayView& cu_seqlens_q, const ArrayView& cu_seqlens_k,
                      const std::optional<ArrayView>& sinks, bool with_logsumexp);

// The plan in words, a line each.
std::vector<std::string> sdpa_varlen_description(const SdpaVarlenProblem& problem, const Plan& plan);

}  // namespace fusedops
