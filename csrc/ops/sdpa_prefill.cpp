#include <algorithm>
#include <cmath>
#include <iterator>
#include <numbers>

#include "ops/checks.h"
#include "ops/sdpa_launches.h"
#include "ops/sdpa_prefill_tiles.h"

namespace fusedops {
namespace {

// Two for each core of the largest GPUs. A split reads its keys once for all rows of a tile and leaves a partial result
// for each: of fewer keys it would be no longer small beside them.
constexpr int64_t kThreadgroupsWanted = 128;
constexpr int64_t kFewestKeysPerSplit = 1024;

struct Dims {
  int64_t head;
  int64_t value;
};

int64_t compiled_dim(int64_t dim) {
  return *std::lower_bound(std::begin(kSdpaPrefillDims), std::end(kSdpaPrefillDims), dim);
}

Dims compiled_dims(const SdpaProblem& problem) {
  const int64_t head = compiled_dim(problem.head_dim), value = compiled_dim(problem.value_dim);
  if (head == value) return {head, value};
  constexpr int64_t step = kSdpaPrefillUnevenDims;
  return {blocks_of(head, step) * step, blocks_of(value, step) * step};
}

const SdpaPrefillTiles& tiles_of(const SdpaProblem& problem, Dims dims) {
  const int64_t element_size = size_of(problem.dtype);
  return *std::find_if(std::begin(kSdpaPrefillTiles), std::end(kSdpaPrefillTiles), [&](const SdpaPrefillTiles& tiles) {
    return tiles.element_size == element_size && dims.head + dims.value <= tiles.most_dims;
  });
}

bool in_chunks(const ArrayView& array) { return has_vectors(array, 16 / size_of(array.dtype)); }

// In base 2 a weight is one multiplication cheaper. But times log2 e the lowest finite biases, which hide nothing,
// would overflow, and partial results are in base e.
void set_base(SdpaParameters& parameters) {
  const float scale = parameters.scale * std::numbers::log2e_v<float>;
  const float softcap = parameters.softcap * std::numbers::log2e_v<float>;
  const bool may_have_biases = parameters.mask_type != OPERAND_ABSENT && parameters.mask_type != OPERAND_BOOL;
  if (may_have_biases || parameters.splits > 1 || !std::isfinite(scale) || !std::isfinite(softcap)) return;
  parameters.logits_in_base_2 = true;
  parameters.scale = scale;
  parameters.softcap = softcap;
}

// As row_tile() of the kernel has them.
int64_t row_tiles(const SdpaCall& call, int64_t rows) {
  const SdpaProblem& problem = call.problem;
  if (!call.packed) return problem.batch * problem.kv_heads * blocks_of(problem.rows_of_kv_head(), rows);
  const int64_t kv_head_rows = int64_t{call.parameters.query_length} * call.parameters.group_size;
  return problem.kv_heads * std::max<int64_t>(1, kv_head_rows / rows + call.parameters.sequences);
}

}  // namespace

bool sdpa_prefill_takes(const SdpaProblem& problem) {
  return std::max(problem.head_dim, problem.value_dim) <= *std::rbegin(kSdpaPrefillDims);
}

void add_sdpa_prefill(const SdpaCall& call, Plan& plan) {
  const SdpaProblem& problem = call.problem;
  const Dims dims = compiled_dims(problem);
  const SdpaPrefillTiles& tiles = tiles_of(problem, dims);
  const int64_t threadgroups = row_tiles(call, tiles.rows());
  // The first tile may begin before the first key that is seen.
  const int64_t keys = std::min(problem.key_length, most_visible_keys(problem, tiles.rows()) + tiles.keys - 1);
  const SdpaSplits splits =
      problem.deterministic ? SdpaSplits{1, keys}
                            : sdpa_splits(keys, tiles.keys, kFewestKeysPerSplit, kThreadgroupsWanted / threadgroups);

  SdpaCall launched = call;
  SdpaParameters& parameters = launched.parameters;
  parameters.q_in_chunks = in_chunks(call.q);
  parameters.k_in_chunks = in_chunks(call.k);
  parameters.v_in_chunks = in_chunks(call.v);
  parameters.splits = static_cast<int32_t>(splits.count);
  parameters.keys_per_split = static_cast<int32_t>(splits.keys);
  set_base(parameters);
  const Binding partials = splits.count > 1 ? add_sdpa_partials(call, splits.count, plan) : call.bindings.out;
  plan.launches.push_back({
      .source = "sdpa_prefill",
      .kernel = "sdpa_prefill",
      .template_arguments = {metal_type(problem.dtype), std::to_string(dims.head), std::to_string(dims.value),
                             std::to_string(tiles.row_fragments), std::to_string(tiles.keys), truth(call.packed)},
      .buffers = call.buffers(partials),
      .parameters = bytes_of(parameters),
      .threadgroups = {threadgroup_count(threadgroups), threadgroup_count(splits.count), 1},
      .threads_per_threadgroup = {SDPA_PREFILL_THREADS, 1, 1},
  });
  if (splits.count > 1) add_sdpa_combine(launched, partials, plan);
}

}  // namespace fusedops
