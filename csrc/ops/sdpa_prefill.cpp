#include <algorithm>

#include "metal/sdpa_prefill_tile.h"
#include "ops/sdpa_launches.h"

namespace fusedops {
namespace {

constexpr int64_t kLargestDim = 256;

// The kernel is compiled for few dimensions, all multiples of 16; models' usual ones are not rounded.
int64_t rounded_up(int64_t dim) {
  const int64_t multiple = dim <= 128 ? 16 : 32;
  return std::max<int64_t>(32, (dim + multiple - 1) / multiple * multiple);
}

bool in_chunks(const ArrayView& array) { return has_vectors(array, 16 / size_of(array.dtype)); }

}  // namespace

bool sdpa_prefill_takes(const SdpaCall& call) {
  return std::max(call.problem.head_dim, call.problem.value_dim) <= kLargestDim;
}

void add_sdpa_prefill(const SdpaCall& call, Plan& plan) {
  const SdpaProblem& problem = call.problem;
  SdpaParameters parameters = call.parameters;
  parameters.k_in_chunks = in_chunks(call.k);
  parameters.v_in_chunks = in_chunks(call.v);
  const int64_t query_tiles = (problem.query_length + SDPA_PREFILL_QUERIES - 1) / SDPA_PREFILL_QUERIES;
  plan.launches.push_back({
      .source = "sdpa_prefill",
      .kernel = "sdpa_prefill",
      .template_arguments = {metal_type(problem.dtype), std::to_string(rounded_up(problem.head_dim)),
                             std::to_string(rounded_up(problem.value_dim))},
      .buffers = call.buffers,
      .parameters = bytes_of(parameters),
      .threadgroups = {threadgroup_count(query_tiles * problem.query_heads * problem.batch), 1, 1},
      .threads_per_threadgroup = {SDPA_PREFILL_THREADS, 1, 1},
  });
}

}  // namespace fusedops
