#include <algorithm>
#include <initializer_list>
#include <iterator>

#include "ops/sdpa_launches.h"

namespace fusedops {
namespace {

// As metal/sdpa_decode_*.metal have them.
constexpr int64_t kSimdgroups = 4, kManySimdgroups = 16;
constexpr int64_t kTileKeys = 32;
constexpr int64_t kFragmentRows = 8, kMostRowBlocks = 4;

constexpr int64_t kThreadgroupsWanted = 512;  // fills the largest GPUs a few times over

// A split's work must outweigh its partial result's. For each row that is as much as one key and value in 16 bits; read
// back, it is less than 2 % of 64 keys. Many rows take long enough to be worth more.
constexpr int64_t kFewestKeysPerRow = 64, kFewestKeys = 256, kMostKeysNeeded = 512;

// Up to so many keys a single threadgroup of many SIMD-groups is done sooner than two kernels, one after the other.
constexpr int64_t kMostKeysOfOneThreadgroup = 1024;

// As the kernels add up their SIMD-groups: the vector kernel's sums of many would need more memory than there is.
constexpr int64_t kMostColumnsOfManySimdgroups = 256;

// What a threadgroup computes.
struct Block {
  int64_t rows;        // queries of query heads that share a KV head
  int64_t row_blocks;  // that SIMD-groups share out; they share out the keys of each
  int64_t columns;     // of the values
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

// The columns are those of which registers hold the sums.
Block block_of(const SdpaProblem& problem) {
  const int64_t rows = problem.rows_of_kv_head();
  if (rows == 1) return {1, 1, fitting(problem.value_dim, {128, 256, 512})};
  const int64_t row_blocks = fitting(blocks_of(rows, kFragmentRows), {1, 2, kMostRowBlocks});
  return {row_blocks * kFragmentRows, row_blocks, fitting(problem.value_dim, {64, 128, 256})};
}

// Which kernel, and how it is instantiated.
struct Kernel {
  std::string name;
  std::vector<std::string> template_arguments;
};

// For one row. Its lanes hold 1 or 2 vectors of 4 elements for every 64 of head_dim, 1, 2 or 4 for every 128 columns.
Kernel vector_kernel(const SdpaCall& call, const Block& block, int64_t simdgroups) {
  const SdpaProblem& problem = call.problem;
  const int64_t head_dim = fitting(problem.head_dim, {64, 128});
  return {"sdpa_decode_vector",
          {metal_type(problem.dtype), std::to_string(head_dim / 64), std::to_string(block.columns / 128),
           std::to_string(simdgroups), truth(has_vectors(call, 4)), truth(fills(problem.head_dim, head_dim)),
           truth(call.packed)}};
}

// For several rows. The head_dim is that of which registers hold the query.
Kernel matrix_kernel(const SdpaCall& call, const Block& block, int64_t simdgroups) {
  const SdpaProblem& problem = call.problem;
  const int64_t bytes = size_of(problem.dtype);
  const int64_t head_dim =
      bytes == 2 ? fitting(problem.head_dim, {64, 128, 256}) : fitting(problem.head_dim, {64, 128});
  const bool in_chunks = has_vectors(call, 16 / bytes);
  const bool whole = in_chunks && fills(problem.head_dim, head_dim) && fills(problem.value_dim, block.columns);
  return {"sdpa_decode_matrix",
          {metal_type(problem.dtype), std::to_string(head_dim), std::to_string(block.columns),
           std::to_string(simdgroups), truth(in_chunks), truth(whole), truth(call.packed)}};
}

}  // namespace

void add_sdpa_decode(const SdpaCall& call, Plan& plan) {
  const SdpaProblem& problem = call.problem;
  const Block block = block_of(problem);
  const int64_t row_blocks = problem.batch * problem.kv_heads * blocks_of(problem.rows_of_kv_head(), block.rows);
  const int64_t column_blocks = std::max<int64_t>(1, blocks_of(problem.value_dim, block.columns));
  const int64_t splits_wanted = blocks_of(kThreadgroupsWanted, row_blocks * column_blocks);
  const int64_t keys = most_visible_keys(problem, std::min(block.rows, kFragmentRows));
  const bool in_one = splits_wanted > 1 && keys > kSimdgroups * kTileKeys && keys <= kMostKeysOfOneThreadgroup &&
                      block.columns <= kMostColumnsOfManySimdgroups;
  const int64_t simdgroups = in_one ? kManySimdgroups : kSimdgroups;
  const int64_t fewest_keys =
      std::clamp(kFewestKeysPerRow * std::min(block.rows, problem.rows_of_kv_head()), kFewestKeys, kMostKeysNeeded);
  // A split is a whole number of tiles for every SIMD-group that takes some of them.
  const SdpaSplits splits =
      sdpa_splits(keys, kTileKeys * simdgroups / block.row_blocks, fewest_keys, in_one ? 1 : splits_wanted);
  const Kernel kernel =
      block.rows == 1 ? vector_kernel(call, block, simdgroups) : matrix_kernel(call, block, simdgroups);

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
      .threadgroups = {threadgroup_count(row_blocks), threadgroup_count(splits.count),
                       threadgroup_count(column_blocks)},
      .threads_per_threadgroup = {static_cast<uint32_t>(32 * simdgroups), 1, 1},
  });
  if (splits.count > 1) add_sdpa_combine(launched, partials, plan);
}

}  // namespace fusedops
