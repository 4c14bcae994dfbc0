#include <algorithm>
#include <initializer_list>
#include <iterator>

#include "metal/sdpa_decode_tile.h"
#include "ops/sdpa_launches.h"

namespace fusedops {
namespace {

// Of the vector kernel's threadgroups.
constexpr int64_t kSimdgroups = 4, kManySimdgroups = 16;

constexpr int64_t kMatrixRows = SDPA_DECODE_MATRIX_ROWS, kMatrixSimdgroups = SDPA_DECODE_MATRIX_SIMDGROUPS;

constexpr int64_t kThreadgroupsWanted = 512;  // fills the largest GPUs a few times over

// A split's work must outweigh its partial result's. For each row that is as much as one key and value in 16 bits; read
// back, it is less than 2 % of 64 keys. Many rows take long enough to be worth more.
constexpr int64_t kFewestKeysPerRow = 64, kFewestKeys = 256, kMostKeysNeeded = 512;

// Few rows over few keys, which are in the cache then, are done soonest by a threadgroup of many SIMD-groups for each
// row, and no second kernel.
constexpr int64_t kFewRows = 64, kFewKeys = 1024, kFewScores = 32 * 1024;
constexpr int64_t kMostColumnsOfManySimdgroups = 256;  // more would not fit into threadgroup memory

// Which kernel, and what a threadgroup of it computes.
struct Kernel {
  std::string name;
  std::vector<std::string> template_arguments;
  int64_t rows;     // queries of query heads that share a KV head
  int64_t columns;  // of the values
  int64_t simdgroups;
  int64_t key_groups;   // SIMD-groups that share out a split's keys
  int64_t tile_keys;    // that a SIMD-group takes at a time
  int64_t fewest_keys;  // of a split
};

// The smallest of the sizes that holds `extent`, or else the largest.
int64_t fitting(int64_t extent, std::initializer_list<int64_t> sizes) {
  const auto found = std::find_if(sizes.begin(), sizes.end(), [extent](int64_t size) { return size >= extent; });
  return found == sizes.end() ? *std::prev(sizes.end()) : *found;
}

// Whether blocks of a size have nothing beyond `extent`.
bool fills(int64_t extent, int64_t size) { return extent > 0 && extent % size == 0; }

bool has_vectors(const SdpaCall& call, int64_t elements) {
  return has_vectors(call.q, elements) && has_vectors(call.k, elements) && has_vectors(call.v, elements);
}

bool has_few_scores(const SdpaProblem& problem) {
  const int64_t rows = element_count(problem.logsumexp().shape);
  const int64_t keys = most_visible_keys(problem, 1);
  return rows <= kFewRows && keys <= kFewKeys && rows * keys <= kFewScores;
}

// A row by itself does not depend on how many others there are.
bool is_row_by_row(const SdpaProblem& problem) {
  return problem.rows_of_kv_head() == 1 || problem.deterministic || has_few_scores(problem);
}

// SIMD-groups beyond those with a tile of keys have nothing to do.
int64_t simdgroups_of_a_row(const SdpaProblem& problem, int64_t columns) {
  const bool many = !problem.deterministic && has_few_scores(problem) &&
                    most_visible_keys(problem, 1) > kSimdgroups * SDPA_DECODE_VECTOR_KEYS &&
                    columns <= kMostColumnsOfManySimdgroups;
  return many ? kManySimdgroups : kSimdgroups;
}

// For one row. Its lanes hold 1 or 2 vectors of 4 elements for every 64 of head_dim, 1, 2 or 4 for every 128 columns.
Kernel vector_kernel(const SdpaCall& call) {
  const SdpaProblem& problem = call.problem;
  const int64_t head_dim = fitting(problem.head_dim, {64, 128});
  const int64_t columns = fitting(problem.value_dim, {128, 256, 512});
  const int64_t simdgroups = simdgroups_of_a_row(problem, columns);
  return {"sdpa_decode_vector",
          {metal_type(problem.dtype), std::to_string(head_dim / 64), std::to_string(columns / 128),
           std::to_string(simdgroups), truth(has_vectors(call, 4)), truth(fills(problem.head_dim, head_dim)),
           truth(call.packed)},
          1,
          columns,
          simdgroups,
          simdgroups,
          SDPA_DECODE_VECTOR_KEYS,
          has_few_scores(problem) ? kFewKeys : kFewestKeys};
}

// For several rows. The sizes are those of which registers hold the query and the sums. Up to 4 SIMD-groups have rows
// of their own, those with the same rows share out the keys.
Kernel matrix_kernel(const SdpaCall& call) {
  const SdpaProblem& problem = call.problem;
  const int64_t bytes = size_of(problem.dtype);
  const int64_t head_dim =
      bytes == 2 ? fitting(problem.head_dim, {64, 128, 256}) : fitting(problem.head_dim, {64, 128});
  const int64_t columns = fitting(problem.value_dim, {64, 128, 256});
  const bool in_chunks = has_vectors(call, 16 / bytes);
  const bool whole = in_chunks && fills(problem.head_dim, head_dim) && fills(problem.value_dim, columns);
  const int64_t rows = problem.rows_of_kv_head();
  const int64_t row_blocks = fitting(blocks_of(rows, kMatrixRows), {1, 2, kMatrixSimdgroups});
  return {"sdpa_decode_matrix",
          {metal_type(problem.dtype), std::to_string(head_dim), std::to_string(columns), truth(in_chunks), truth(whole),
           truth(call.packed)},
          row_blocks * kMatrixRows,
          columns,
          kMatrixSimdgroups,
          kMatrixSimdgroups / row_blocks,
          SDPA_DECODE_MATRIX_KEYS,
          std::clamp(kFewestKeysPerRow * std::min(rows, kMatrixRows * row_blocks), kFewestKeys, kMostKeysNeeded)};
}

}  // namespace

void add_sdpa_decode(const SdpaCall& call, Plan& plan) {
  const SdpaProblem& problem = call.problem;
  const int64_t kv_head_rows = problem.rows_of_kv_head();
  const Kernel kernel = is_row_by_row(problem) ? vector_kernel(call) : matrix_kernel(call);
  const int64_t blocks = problem.kv_heads * blocks_of(kv_head_rows, kernel.rows);  // of each batch
  const int64_t column_blocks = std::max<int64_t>(1, blocks_of(problem.value_dim, kernel.columns));
  const int64_t keys = most_visible_keys(problem, std::min(kernel.rows, kMatrixRows));
  const int64_t busy_threadgroups = std::max<int64_t>(1, call.full_batches * blocks * column_blocks);
  const int64_t splits_wanted = problem.deterministic ? 1 : blocks_of(kThreadgroupsWanted, busy_threadgroups);
  // A split is a whole number of tiles for every SIMD-group that takes some of them.
  const SdpaSplits splits = sdpa_splits(keys, kernel.tile_keys * kernel.key_groups, kernel.fewest_keys, splits_wanted);

  SdpaCall launched = call;
  launched.parameters.splits = static_cast<int32_t>(splits.count);
  launched.parameters.keys_per_split = static_cast<int32_t>(splits.keys);
  const Binding partials = splits.count > 1 ? add_sdpa_partials(call, splits.count, plan) : call.bindings.out;
  plan.launches.push_back({
      .source = kernel.name,
      .kernel = kernel.name,
      .template_arguments = kernel.template_arguments,
      .buffers = call.buffers(partials),
      .parameters = bytes_of(launched.parameters),
      .threadgroups = {threadgroup_count(problem.batch * blocks), threadgroup_count(splits.count),
                       threadgroup_count(column_blocks)},
      .threads_per_threadgroup = {static_cast<uint32_t>(32 * kernel.simdgroups), 1, 1},
  });
  if (splits.count > 1) add_sdpa_combine(launched, partials, plan);
}

}  // namespace fusedops
