#include <algorithm>

#include "metal/sdpa_partial_layout.h"
#include "ops/sdpa_launches.h"

namespace fusedops {

int64_t most_visible_keys(const SdpaProblem& problem, int64_t rows) {
  if (problem.band.left == Band::unbounded || problem.band.right == Band::unbounded) return problem.key_length;
  const int64_t queries = std::min(problem.query_length, blocks_of(rows - 1, problem.group_size()) + 1);
  return std::min(problem.key_length, problem.band.left + problem.band.right + queries);
}

SdpaSplits sdpa_splits(int64_t keys, int64_t tile_keys, int64_t fewest_keys, int64_t count_wanted) {
  const int64_t most = std::max<int64_t>(1, keys / fewest_keys);
  const int64_t wanted = std::clamp<int64_t>(count_wanted, 1, most);
  const int64_t keys_per_split = std::max<int64_t>(1, blocks_of(blocks_of(keys, wanted), tile_keys)) * tile_keys;
  return {std::max<int64_t>(1, blocks_of(keys, keys_per_split)), keys_per_split};
}

Binding add_sdpa_partials(const SdpaCall& call, int64_t splits, Plan& plan) {
  const int64_t chunks = 1 + blocks_of(call.problem.value_dim, SDPA_PARTIAL_CHUNK);
  plan.scratch.push_back({DType::float32, {call.rows, splits, chunks * SDPA_PARTIAL_CHUNK}});
  return {BufferRole::scratch, static_cast<int>(plan.scratch.size()) - 1};
}

void add_sdpa_combine(const SdpaCall& call, Binding partials, Plan& plan) {
  const SdpaProblem& problem = call.problem;
  const int64_t column_blocks = std::max<int64_t>(1, blocks_of(problem.value_dim, SDPA_COMBINE_COLUMNS));
  plan.launches.push_back({
      .source = "sdpa_combine",
      .kernel = "sdpa_combine",
      .template_arguments = {metal_type(problem.dtype), truth(call.packed)},
      .buffers = {partials, call.bindings.sinks, call.bindings.out, call.bindings.logsumexp},
      .parameters = bytes_of(call.parameters),
      .threadgroups = {threadgroup_count(call.rows), threadgroup_count(column_blocks), 1},
      .threads_per_threadgroup = {SDPA_COMBINE_THREADS, 1, 1},
  });
}

}  // namespace fusedops
