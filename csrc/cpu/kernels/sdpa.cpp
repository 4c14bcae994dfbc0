// Attention as in FlashAttention-2 (Dao 2023, https://arxiv.org/abs/2307.08691): blocks of query rows, tiles of keys,
// online softmax; where there are few rows the keys are split too, and the parts combined
// (Flash-Decoding, https://crfm.stanford.edu/2023/10/12/flashdecoding.html). No score matrix is ever stored.
#include "ops/sdpa.h"

#include <atomic>
#include <vector>

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/sdpa_packed.h"
#include "cpu/kernels/sdpa_streaming.h"

namespace fusedops::cpu::FUSEDOPS_ISA {
namespace {

// Writes the normalised output of a block, its sinks included, and the logsumexp.
template <class T>
void finish(const SdpaProblem& problem, const SdpaBuffers& buffers, const RowBlock& block, const SoftmaxState& state) {
  for (int64_t row = 0; row < block.rows(); ++row) {
    const int64_t head = block.head(row);
    const int64_t index = (block.batch * problem.query_heads + head) * problem.query_length + block.query(row);
    float max = state.max[row], sum = state.sum[row], factor = 0.f;
    const bool sees_nothing = sum == 0.f;
    if (!sees_nothing) {
      float rescale = 1.f;
      if (buffers.sinks) {
        const auto& strides = buffers.sinks->strides;
        const int64_t offset = head * strides.back() + (strides.size() == 2 ? block.batch * strides[0] : 0);
        float sink = 0.f;
        dispatch_dtype(buffers.sinks->dtype, [&]<class Sink>(const Sink*) {
          sink = to_float(static_cast<const Sink*>(buffers.sinks->data)[offset]);
        });
        const float new_max = sink > max ? sink : max;
        rescale = exp(max - new_max);
        sum = sum * rescale + exp(sink - new_max);
        max = new_max;
      }
      factor = rescale / sum;
    }
    const float* source = state.out + row * state.value_stride;
    T* target = static_cast<T*>(buffers.out) + index * problem.value_dim;
    for_each_vector(problem.value_dim, [&](int64_t i, auto lanes) {
      store(target + i, sees_nothing ? Vec{} : load(source + i, lanes) * splat(factor), lanes);
    });
    if (buffers.logsumexp) buffers.logsumexp[index] = sees_nothing ? kMinusInfinity : max + __builtin_logf(sum);
  }
}

// Adds the state of other keys to that of the first ones.
void combine(const RowBlock& block, const SoftmaxState& state, const SoftmaxState& other) {
  for (int64_t row = 0; row < block.rows(); ++row) {
    const float new_max = state.max[row] > other.max[row] ? state.max[row] : other.max[row];
    const float reference = finite_or_zero(new_max);
    const float rescale = exp(state.max[row] - reference), other_rescale = exp(other.max[row] - reference);
    float* out = state.out + row * state.value_stride;
    const float* other_out = other.out + row * state.value_stride;
    for (int64_t i = 0; i < state.value_stride; ++i) out[i] = out[i] * rescale + other_out[i] * other_rescale;
    state.sum[row] = state.sum[row] * rescale + other.sum[row] * other_rescale;
    state.max[row] = new_max;
  }
}

// How the work is cut: blocks of queries for each batch and KV head, and each block's keys into splits. Only the blocks
// depend on the number of threads. A row's splits and tiles do not, nor then does its result.
struct Partition {
  KeyRange keys;  // that any query sees
  int64_t keys_per_split;
  int64_t splits;
  int threads;
  int64_t queries_per_block;
  int64_t blocks_per_head;
  int64_t blocks;

  Partition(const SdpaProblem& problem, const Executor& executor)
      : keys(visible_keys(problem)), threads(threads_for(executor, work(problem, keys.count()))) {
    const int64_t heads = problem.batch * problem.kv_heads;
    const int64_t group = larger(1, problem.group_size()), length = larger(1, problem.query_length);
    // Where there are few rows, splits make the parts that many threads need.
    constexpr int64_t parts = 64, min_keys_per_split = 1024;
    const int64_t panels = larger(1, heads * ceil_divide(length * group, kPanel));
    splits = larger(1, smaller(parts / panels, keys.count() / min_keys_per_split));
    keys_per_split = larger(kTileKeys, round_up(ceil_divide(keys.count(), splits), kTileKeys));
    // Blocks of one size, which is a whole number of panels.
    const int64_t cuts = ceil_divide(length * group, rows_per_block(problem, threads));
    queries_per_block = smaller(length, round_up(ceil_divide(length, cuts), larger(1, kPanel / group)));
    blocks_per_head = ceil_divide(problem.query_length, queries_per_block);
    blocks = heads * blocks_per_head;
  }

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

  static KeyRange visible_keys(const SdpaProblem& problem) {
    const KeyRange band{problem.band.first_key(0), problem.band.last_key(problem.query_length - 1) + 1};
    return band.within({0, problem.key_length});
  }

  // In the time of the row operators' elements: of that a multiply-add takes an eighth, reading K and V half. Measured.
  static int64_t work(const SdpaProblem& problem, int64_t keys) {
    const int64_t columns = keys * (problem.head_dim + problem.value_dim);
    const int64_t rows = problem.batch * problem.query_heads * problem.query_length;
    return rows * columns / 8 + problem.batch * problem.kv_heads * columns / 2;
  }

  // As many rows as keep their queries and sums in L2 beside a tile of keys, fewer where threads would have no work.
  static int64_t rows_per_block(const SdpaProblem& problem, int threads) {
    // Tiles multiply so fast that packing counts; CPUs that have them have 2 MB of L2.
    const bool tiles = kHasTiles && problem.dtype == DType::bfloat16;
    const int64_t max_rows = tiles ? 512 : 256, max_floats = tiles ? 128 * 1024 : 64 * 1024;
    constexpr int64_t blocks_per_thread = 4;
    const int64_t rows = problem.batch * problem.query_heads * problem.query_length;
    const int64_t fair = threads > 1 ? rows / (blocks_per_thread * threads) : rows;
    const int64_t fitting = max_floats / larger(1, problem.head_dim + problem.value_dim);
    return larger(kPanel, smaller(max_rows, smaller(fitting, fair)));
  }
};

template <class T, class Attention>
void run(const SdpaProblem& problem, const SdpaBuffers& buffers, const Partition& partition, Executor& executor) {
  const int64_t rows = partition.queries_per_block * problem.group_size();
  const int64_t padded_rows = Attention::padded_rows(rows);
  const int64_t value_stride = Attention::value_stride(problem);
  const int64_t state_floats = SoftmaxState::floats(padded_rows, value_stride);
  const int64_t scratch_floats = round_up(Attention::scratch_floats(problem, rows), kLanes);
  const int64_t parts = partition.blocks * partition.splits;
  const int64_t workers = smaller(partition.threads, parts);
  const int64_t states = partition.splits > 1 ? parts : workers;
  Scratch<float> scratch(workers * scratch_floats);
  Scratch<float> state_memory(states * round_up(state_floats, kLanes));
  std::vector<std::atomic<int64_t>> ended(partition.splits > 1 ? partition.blocks : 0);  // splits of each block
  auto state_at = [&](int64_t index) {
    return SoftmaxState::in(state_memory + index * round_up(state_floats, kLanes), padded_rows, value_stride);
  };

  const auto attend_part = [&](int64_t part, int worker) {
    const RowBlock block = partition.block(problem, part / partition.splits);
    const SoftmaxState state = state_at(partition.splits > 1 ? part : worker);
    state.clear(Attention::padded_rows(block.rows()));
    const Visibility visibility(problem, buffers, block);
    const KeyRange keys = partition.split(visibility.keys(), part % partition.splits);
    if (keys.count() > 0)
      Attention(problem, buffers, block, visibility, scratch + worker * scratch_floats).attend(keys, state);
    if (partition.splits == 1) return finish<T>(problem, buffers, block, state);
    // Whoever ends a block's last split combines them all, always in the same order.
    const int64_t index = part / partition.splits;
    if (ended[index].fetch_add(1, std::memory_order_acq_rel) + 1 < partition.splits) return;
    const SoftmaxState total = state_at(index * partition.splits);
    for (int64_t split = 1; split < partition.splits; ++split)
      combine(block, total, state_at(index * partition.splits + split));
    finish<T>(problem, buffers, block, total);
  };
  // Splits of a block follow one another in memory: one thread takes several where there are enough for all.
  const int64_t together = partition.splits > 1 ? larger(1, parts / (4 * partition.threads)) : 1;
  for_each_task(executor, partition.threads, ceil_divide(parts, together), [&](int64_t task, int worker) {
    for (int64_t part = task * together; part < smaller(parts, (task + 1) * together); ++part)
      attend_part(part, worker);
  });
}

}  // namespace

void sdpa(const SdpaProblem& problem, const SdpaBuffers& buffers, Executor& executor) {
  const Partition partition(problem, executor);
  // By the problem alone, not by how it is cut: results must not depend on the number of threads.
  const int64_t rows = problem.query_length * problem.group_size();
  dispatch_dtype(problem.dtype, [&]<class T>(const T*) {
    if (rows <= StreamingAttention<T>::kMaxRows)
      run<T, StreamingAttention<T>>(problem, buffers, partition, executor);
    else
      run<T, PackedAttention<T>>(problem, buffers, partition, executor);
  });
}

}  // namespace fusedops::cpu::FUSEDOPS_ISA
