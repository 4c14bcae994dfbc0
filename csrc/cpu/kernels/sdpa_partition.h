// How the work of attention is cut into parts that any thread can take.
#pragma once

#include "cpu/kernels/sdpa_packed.h"

namespace fusedops::cpu::FUSEDOPS_ISA {

// The work of one problem, or of all those of a call.
struct Work {
  int64_t rows = 0;
  // In that of the row operators' elements: a multiply-add takes an eighth of it, reading K and V half. Measured.
  int64_t time = 0;

  void add(const SdpaProblem& problem, int64_t keys) {
    const int64_t columns = keys * (problem.head_dim + problem.value_dim);
    const int64_t own_rows = problem.batch * problem.query_heads * problem.query_length;
    rows += own_rows;
    time += own_rows * columns / 8 + problem.batch * problem.kv_heads * columns / 2;
  }
};

// How a problem's work is cut: blocks of queries for each batch and KV head, and each block's keys into splits. Only
// the blocks depend on the number of threads and on the call's other work. A row's splits and tiles do not, nor then
// does its result. A deterministic problem has one split, and tiles that begin at multiples of their size: those do not
// depend on other rows either.
struct Partition {
  KeyRange keys;  // that any query sees
  int64_t keys_per_split;
  int64_t splits;
  int64_t queries_per_block;
  int64_t blocks_per_head;
  int64_t blocks;

  Partition(const SdpaProblem& problem, const Work& call, int threads) : keys(visible_keys(problem)) {
    const int64_t heads = problem.batch * problem.kv_heads;
    const int64_t group = larger(1, problem.group_size()), length = larger(1, problem.query_length);
    // Where there are few rows, splits make the parts that many threads need.
    constexpr int64_t parts = 64, min_keys_per_split = 1024;
    const int64_t panels = larger(1, heads * ceil_divide(length * group, kPanel));
    splits = problem.deterministic ? 1 : larger(1, smaller(parts / panels, keys.count() / min_keys_per_split));
    keys_per_split = larger(kTileKeys, round_up(ceil_divide(keys.count(), splits), kTileKeys));
    // Blocks of one size, which is a whole number of panels.
    const int64_t cuts = ceil_divide(length * group, rows_per_block(problem, call.rows, threads));
    queries_per_block = smaller(length, round_up(ceil_divide(length, cuts), larger(1, kPanel / group)));
    blocks_per_head = ceil_divide(problem.query_length, queries_per_block);
    blocks = heads * blocks_per_head;
  }

  static KeyRange visible_keys(const SdpaProblem& problem) {
    const KeyRange band{problem.band.first_key(0), problem.band.last_key(problem.query_length - 1) + 1};
    const KeyRange visible = band.within({0, problem.key_length});
    if (!problem.deterministic) return visible;
    return {visible.first / kTileKeys * kTileKeys, visible.last};
  }

  int64_t parts() const { return blocks * splits; }

  RowBlock block(const SdpaProblem& problem, int64_t index) const {
    // Blocks of one head follow one another, while its keys are in the cache. The last queries see the most keys under
    // a causal mask: starting with them evens the threads' ends.
    const int64_t position = blocks_per_head - 1 - index % blocks_per_head;
    const int64_t batch_head = index / blocks_per_head;
    const int64_t first = position * queries_per_block;
    return {batch_head / problem.kv_heads, batch_head % problem.kv_heads, first,
            smaller(queries_per_block, problem.query_length - first), problem.group_size()};
  }

  // The keys of a split that some of a block see, from a tile's beginning.
  KeyRange split(const KeyRange& seen, int64_t index) const {
    if (seen.count() == 0) return seen;
    const KeyRange from_tile{keys.first + (seen.first - keys.first) / kTileKeys * kTileKeys, seen.last};
    const int64_t first = keys.first + index * keys_per_split;
    return from_tile.within({first, first + keys_per_split});
  }

 private:
  static constexpr int64_t kTileKeys = 256;  // a multiple of what either way of attending takes at a time

  // As many rows as keep their queries and sums in L2 beside a tile of keys, fewer where threads would have no work.
  static int64_t rows_per_block(const SdpaProblem& problem, int64_t rows, int threads) {
    // Tiles multiply so fast that packing counts; CPUs that have them have 2 MB of L2.
    const bool tiles = kHasTiles && problem.dtype == DType::bfloat16;
    const int64_t max_rows = tiles ? 512 : 256, max_floats = tiles ? 128 * 1024 : 64 * 1024;
    constexpr int64_t blocks_per_thread = 4;
    const int64_t fair = threads > 1 ? rows / (blocks_per_thread * threads) : rows;
    const int64_t fitting = max_floats / larger(1, problem.head_dim + problem.value_dim);
    return larger(kPanel, smaller(max_rows, smaller(fitting, fair)));
  }
};

}  // namespace fusedops::cpu::FUSEDOPS_ISA
