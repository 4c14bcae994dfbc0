#include <algorithm>

#include "ops/sdpa_launches.h"
#include "ops/sdpa_varlen.h"

namespace fusedops {
namespace {

// (length, heads, dimension) as one batch of (batch, heads, length, dimension).
ArrayView as_batch(const ArrayView& packed) {
  ArrayView view = packed;
  view.shape = {1, packed.shape[1], packed.shape[0], packed.shape[2]};
  view.strides = {0, packed.strides[1], packed.strides[0], packed.strides[2]};
  return view;
}

// A batch of sequences, of which none can be longer than what there is of all. At least one query of one sequence:
// where cu_seqlens_q leaves queries over, the kernels must run and say so.
SdpaProblem planned_for(const SdpaVarlenProblem& problem) {
  SdpaProblem longest = problem.longest;
  longest.batch = std::max<int64_t>(1, problem.sequences);
  longest.query_length = std::max<int64_t>(1, std::min(longest.query_length, problem.total_queries));
  longest.key_length = std::min(longest.key_length, problem.total_keys);
  return longest;
}

SdpaParameters parameters_of(const SdpaVarlenProblem& problem, const ArrayView& q, const ArrayView& k,
                             const ArrayView& v, const ArrayView& cu_seqlens_q, const ArrayView& cu_seqlens_k,
                             const std::optional<ArrayView>& sinks, bool with_logsumexp) {
  SdpaProblem together = problem.longest;
  together.query_length = problem.total_queries;
  together.key_length = problem.total_keys;
  together.band.offset = 0;  // each sequence has its own
  SdpaParameters parameters = sdpa_parameters(together, q, k, v, std::nullopt, sinks, with_logsumexp);
  parameters.cu_seqlens_q_stride = cu_seqlens_q.strides[0];
  parameters.cu_seqlens_k_stride = cu_seqlens_k.strides[0];
  parameters.sequences = static_cast<int32_t>(problem.sequences);
  parameters.max_seqlen_q = static_cast<int32_t>(std::min(problem.longest.query_length, problem.total_queries));
  parameters.max_seqlen_k = static_cast<int32_t>(std::min(problem.longest.key_length, problem.total_keys));
  parameters.last_sees_last = problem.causal != Causal::upper_left;
  return parameters;
}

SdpaBindings bindings_of(bool has_sinks, bool with_logsumexp) {
  return {
      .q = input_buffer(0),
      .k = input_buffer(1),
      .v = input_buffer(2),
      .mask = input_buffer(0),
      .sinks = input_buffer(has_sinks ? 5 : 0),
      .cu_seqlens_q = input_buffer(3),
      .cu_seqlens_k = input_buffer(4),
      .out = output_buffer(0),
      .logsumexp = output_buffer(with_logsumexp ? 1 : 0),
  };
}

}  // namespace

Plan sdpa_varlen_plan(const SdpaVarlenProblem& problem, const ArrayView& q, const ArrayView& k, const ArrayView& v,
                      const ArrayView& cu_seqlens_q, const ArrayView& cu_seqlens_k,
                      const std::optional<ArrayView>& sinks, bool with_logsumexp) {
  Plan plan;
  plan.outputs.push_back(problem.output());
  if (with_logsumexp) plan.outputs.push_back(problem.logsumexp());
  const SdpaProblem longest = planned_for(problem);
  const ArrayView queries = as_batch(q), keys = as_batch(k), values = as_batch(v);
  add_sdpa(
      {
          .problem = longest,
          .q = queries,
          .k = keys,
          .v = values,
          .parameters =
              parameters_of(problem, queries, keys, values, cu_seqlens_q, cu_seqlens_k, sinks, with_logsumexp),
          .bindings = bindings_of(sinks.has_value(), with_logsumexp),
          .rows = problem.total_queries * longest.query_heads,
          .full_batches = blocks_of(problem.total_keys, std::max<int64_t>(1, longest.key_length)),
          .packed = true,
      },
      plan);
  return plan;
}

}  // namespace fusedops
