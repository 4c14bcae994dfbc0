#include <algorithm>

#include "metal/sdpa_prefill_tile.h"
#include "ops/checks.h"
#include "ops/operand_type.h"
#include "ops/sdpa_launches.h"

namespace fusedops {
namespace {

// The strides by which an array is read as one of `rank` dimensions, broadcast where it has fewer or an extent is 1.
template <size_t rank>
void set_broadcast_strides(int64_t (&strides)[rank], const std::optional<ArrayView>& array) {
  std::fill(std::begin(strides), std::end(strides), 0);
  if (!array) return;
  const size_t missing = rank - array->shape.size();
  for (size_t i = missing; i < rank; ++i)
    if (array->shape[i - missing] != 1) strides[i] = array->strides[i - missing];
}

// Kernels count positions in 32 bits; offsets they compute in 64.
int32_t extent(std::string_view name, int64_t value) {
  constexpr int64_t limit = std::numeric_limits<int32_t>::max() - 1024;  // a tile beyond the end must not overflow
  if (value > limit) checks::fail<ValueError>(name, " must be at most ", limit, " on a GPU, got ", value);
  return static_cast<int32_t>(value);
}

SdpaBindings bindings_of(bool has_mask, bool has_sinks, bool with_logsumexp) {
  return {
      .q = input_buffer(0),
      .k = input_buffer(1),
      .v = input_buffer(2),
      .mask = input_buffer(has_mask ? 3 : 0),
      .sinks = input_buffer(has_sinks ? 4 : 0),
      .cu_seqlens_q = input_buffer(0),
      .cu_seqlens_k = input_buffer(0),
      .out = output_buffer(0),
      .logsumexp = output_buffer(with_logsumexp ? 1 : 0),
  };
}

// Whether the decode kernels are the better ones: with no more rows (queries of query heads that share a KV head) than
// one fragment for each SIMD-group, where a tile of the prefill kernel would be half empty or more.
bool has_few_rows(const SdpaProblem& problem) { return problem.rows_of_kv_head() <= SDPA_PREFILL_FRAGMENT_ROWS; }

// A row must come to the same bits among few rows and among many, so one kernel takes both.
bool prefill_is_better(const SdpaProblem& problem) { return problem.deterministic || !has_few_rows(problem); }

}  // namespace

bool has_vectors(const ArrayView& array, int64_t elements) {
  const size_t last = array.shape.size() - 1;
  for (size_t i = 0; i < last; ++i)
    if (array.shape[i] > 1 && array.strides[i] % elements != 0) return false;
  return array.shape[last] % elements == 0 && (array.strides[last] == 1 || array.shape[last] == 1) &&
         is_aligned(array, elements * size_of(array.dtype));
}

SdpaParameters sdpa_parameters(const SdpaProblem& problem, const ArrayView& q, const ArrayView& k, const ArrayView& v,
                               const std::optional<ArrayView>& mask, const std::optional<ArrayView>& sinks,
                               bool with_logsumexp) {
  SdpaParameters parameters{};
  set_broadcast_strides(parameters.q_strides, q);
  set_broadcast_strides(parameters.k_strides, k);
  set_broadcast_strides(parameters.v_strides, v);
  set_broadcast_strides(parameters.mask_strides, mask);
  set_broadcast_strides(parameters.sinks_strides, sinks);
  // Band::unbounded is far from what overflows when a query is added.
  parameters.first_key_shift = problem.band.first_key(0);
  parameters.last_key_shift = problem.band.last_key(0);
  parameters.query_heads = extent("query_heads", problem.query_heads);
  parameters.group_size = extent("group_size", problem.group_size());
  parameters.query_length = extent("query_length", problem.query_length);
  extent("query_length times the query heads of a KV head", problem.rows_of_kv_head());
  parameters.key_length = extent("key_length", problem.key_length);
  parameters.head_dim = extent("head_dim", problem.head_dim);
  parameters.value_dim = extent("value_dim", problem.value_dim);
  parameters.max_seqlen_q = parameters.query_length;
  parameters.max_seqlen_k = parameters.key_length;
  parameters.mask_type = operand_type(mask);
  parameters.sinks_type = operand_type(sinks);
  parameters.with_logsumexp = with_logsumexp;
  parameters.scale = problem.scale;
  parameters.softcap = problem.softcap;
  return parameters;
}

uint32_t threadgroup_count(int64_t count) {
  if (count > std::numeric_limits<int32_t>::max())
    checks::fail<ValueError>("q has too many rows for one launch on a GPU");
  return static_cast<uint32_t>(count);
}

void add_sdpa(const SdpaCall& call, Plan& plan) {
  const auto is_empty = [](const ArrayInfo& array) { return element_count(array.shape) == 0; };
  if (std::all_of(plan.outputs.begin(), plan.outputs.end(), is_empty)) return;
  if (prefill_is_better(call.problem) && sdpa_prefill_takes(call.problem))
    add_sdpa_prefill(call, plan);
  else
    add_sdpa_decode(call, plan);
}

Plan sdpa_plan(const SdpaProblem& problem, const ArrayView& q, const ArrayView& k, const ArrayView& v,
               const std::optional<ArrayView>& mask, const std::optional<ArrayView>& sinks, bool with_logsumexp) {
  checks::countable("q", {q.dtype, q.shape});
  checks::countable("k", {k.dtype, k.shape});
  checks::countable("v", {v.dtype, v.shape});
  Plan plan;
  plan.outputs.push_back(problem.output());
  if (with_logsumexp) plan.outputs.push_back(problem.logsumexp());
  add_sdpa(
      {
          .problem = problem,
          .q = q,
          .k = k,
          .v = v,
          .parameters = sdpa_parameters(problem, q, k, v, mask, sinks, with_logsumexp),
          .bindings = bindings_of(mask.has_value(), sinks.has_value(), with_logsumexp),
          .rows = element_count(problem.logsumexp().shape),
          .full_batches = problem.batch,
      },
      plan);
  return plan;
}

}  // namespace fusedops
