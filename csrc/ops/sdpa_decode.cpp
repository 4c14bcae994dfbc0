#include <algorithm>

#include "ops/sdpa_launches.h"

namespace fusedops {
namespace {

// As metal/sdpa_decode.metal has them.
constexpr uint32_t kThreads = 128;
constexpr int64_t kTileKeys = 32;
constexpr int64_t kChunk = 4;                   // elements of a vector
constexpr int64_t kChunkColumns = 32 * kChunk;  // value columns of a SIMD-group whose lanes hold a chunk each
constexpr uint32_t kCombineThreads = 512;
constexpr int64_t kHeadBlock = 128;  // elements of queries that fit into registers
constexpr int64_t kMostRows = 4;     // more would take too many registers

constexpr int64_t kThreadgroupsWanted = 512;  // fills the largest GPUs a few times over
constexpr int64_t kFewestKeysPerSplit = 256;  // a split's work must outweigh its partial result's

int64_t blocks_of(int64_t count, int64_t size) { return (count + size - 1) / size; }

std::string truth(bool value) { return value ? "true" : "false"; }

// What a threadgroup computes.
struct Block {
  int64_t rows;          // queries of query heads that share a KV head
  int64_t value_chunks;  // of each lane

  int64_t columns() const { return value_chunks * kChunkColumns; }
};

Block block_of(const SdpaProblem& problem) {
  const int64_t rows = problem.group_size() * problem.query_length;
  const int64_t value_chunks = problem.value_dim <= kChunkColumns ? 1 : problem.value_dim <= 2 * kChunkColumns ? 2 : 4;
  return {rows == 1 ? 1 : kMostRows, value_chunks};
}

// The most keys that a block of rows can see.
int64_t visible_keys(const SdpaProblem& problem, int64_t rows) {
  if (problem.band.left == Band::unbounded || problem.band.right == Band::unbounded) return problem.key_length;
  const int64_t queries = std::min(problem.query_length, blocks_of(rows - 1, problem.group_size()) + 1);
  return std::min(problem.key_length, problem.band.left + problem.band.right + queries);
}

struct Splits {
  int64_t count;
  int64_t keys;  // of each
};

Splits splits_of(int64_t keys, int64_t threadgroups) {
  const int64_t most = std::max<int64_t>(1, keys / kFewestKeysPerSplit);
  const int64_t wanted = std::min(most, blocks_of(kThreadgroupsWanted, threadgroups));
  const int64_t keys_per_split = std::max<int64_t>(1, blocks_of(blocks_of(keys, wanted), kTileKeys)) * kTileKeys;
  return {std::max<int64_t>(1, blocks_of(keys, keys_per_split)), keys_per_split};
}

// For each row and split the softmax's maximum and sum, padded to four floats, and the weighted sum of the values,
// padded likewise.
Binding add_partials(const SdpaProblem& problem, int64_t rows, int64_t splits, Plan& plan) {
  plan.scratch.push_back({DType::float32, {rows, splits, (1 + blocks_of(problem.value_dim, kChunk)) * kChunk}});
  return {BufferRole::scratch, static_cast<int>(plan.scratch.size()) - 1};
}

}  // namespace

void add_sdpa_decode(const SdpaCall& call, Plan& plan) {
  const SdpaProblem& problem = call.problem;
  const Block block = block_of(problem);
  const int64_t row_blocks =
      problem.batch * problem.kv_heads * blocks_of(problem.group_size() * problem.query_length, block.rows);
  const int64_t column_blocks = std::max<int64_t>(1, blocks_of(problem.value_dim, block.columns()));
  const Splits splits = splits_of(visible_keys(problem, block.rows), row_blocks * column_blocks);

  SdpaParameters parameters = call.parameters;
  parameters.splits = static_cast<int32_t>(splits.count);
  parameters.keys_per_split = static_cast<int32_t>(splits.keys);

  const int64_t rows = problem.batch * problem.query_heads * problem.query_length;
  const Binding sinks = call.buffers[4], out = call.buffers[5], logsumexp = call.buffers[6];
  const Binding partials = splits.count > 1 ? add_partials(problem, rows, splits.count, plan) : out;
  std::vector<Binding> buffers = call.buffers;
  buffers.push_back(partials);
  const bool vectors = has_vectors(call.q, kChunk) && has_vectors(call.k, kChunk) && has_vectors(call.v, kChunk);
  const std::string type = metal_type(problem.dtype);
  plan.launches.push_back({
      .source = "sdpa_decode",
      .kernel = "sdpa_decode",
      .template_arguments = {type, std::to_string(block.rows), truth(problem.head_dim > kHeadBlock),
                             std::to_string(block.value_chunks), truth(vectors)},
      .buffers = buffers,
      .parameters = bytes_of(parameters),
      .threadgroups = {threadgroup_count(row_blocks), threadgroup_count(splits.count),
                       threadgroup_count(column_blocks)},
      .threads_per_threadgroup = {kThreads, 1, 1},
  });
  if (splits.count == 1) return;
  const int64_t combine_blocks = std::max<int64_t>(1, blocks_of(problem.value_dim, kChunkColumns));
  plan.launches.push_back({
      .source = "sdpa_decode",
      .kernel = "sdpa_decode_combine",
      .template_arguments = {type},
      .buffers = {partials, sinks, out, logsumexp},
      .parameters = bytes_of(parameters),
      .threadgroups = {threadgroup_count(rows), threadgroup_count(combine_blocks), 1},
      .threads_per_threadgroup = {kCombineThreads, 1, 1},
  });
}

}  // namespace fusedops
