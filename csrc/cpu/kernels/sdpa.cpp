// Attention as in FlashAttention-2 (Dao 2023, https://arxiv.org/abs/2307.08691): blocks of query rows, tiles of keys,
// online softmax; where there are few rows the keys are split too, and the parts combined
// (Flash-Decoding, https://crfm.stanford.edu/2023/10/12/flashdecoding.html). No score matrix is ever stored.
#include <algorithm>
#include <atomic>
#include <vector>

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/sdpa_partition.h"
#include "cpu/kernels/sdpa_streaming.h"

namespace fusedops::cpu::FUSEDOPS_ISA {
namespace {

FUSEDOPS_INLINE int64_t row_index(const RowStrides& rows, int64_t batch, int64_t head, int64_t query) {
  return batch * rows.batch + head * rows.head + query * rows.query;
}

// Writes the normalised output of a block, its sinks included, and the logsumexp.
template <class T>
void finish(const SdpaCall& call, const SdpaSequence& sequence, const RowBlock& block, const SoftmaxState& state) {
  const SdpaBuffers& buffers = call.buffers;
  const int64_t value_dim = sequence.problem.value_dim;
  for (int64_t row = 0; row < block.rows(); ++row) {
    const int64_t head = block.head(row), query = sequence.first_query + block.query(row);
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
    T* target = static_cast<T*>(buffers.out) + row_index(call.out_rows, block.batch, head, query) * value_dim;
    for_each_vector(value_dim, [&](int64_t i, auto lanes) {
      store(target + i, sees_nothing ? Vec{} : load(source + i, lanes) * splat(factor), lanes);
    });
    if (buffers.logsumexp)
      buffers.logsumexp[row_index(call.logsumexp_rows, block.batch, head, query)] =
          sees_nothing ? kMinusInfinity : max + __builtin_logf(sum);
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

// A call of which each problem's parts, its blocks' splits, follow those of the problems before.
template <class T>
class Run {
 public:
  Run(const SdpaCall& call, Executor& executor) : call_(call), executor_(executor) {
    Work work;
    for (int64_t i = 0; i < call.count; ++i) {
      const SdpaProblem& problem = call.sequences[i].problem;
      work.add(problem, Partition::visible_keys(problem).count());
    }
    threads_ = threads_for(executor, work.time);
    pieces_.reserve(call.count);
    for (int64_t i = 0; i < call.count; ++i) add(call.sequences[i], work);
  }

  void run() {
    const int64_t workers = smaller(threads_, parts_);
    Scratch<float> scratch(workers * scratch_floats_);
    Scratch<float> states(workers * state_floats_ + split_state_floats_);
    std::vector<std::atomic<int64_t>> ended(split_blocks_);  // splits of each block that has several
    scratch_ = scratch;
    states_ = states;
    split_states_ = states_ + workers * state_floats_;
    ended_ = ended.data();
    // Splits of a block follow one another in memory: one thread takes several where there are enough for all.
    const int64_t together = larger(1, smaller(most_splits_, parts_ / (4 * threads_)));
    for_each_task(executor_, threads_, ceil_divide(parts_, together), [&](int64_t task, int worker) {
      for (int64_t part = task * together; part < smaller(parts_, (task + 1) * together); ++part) attend(part, worker);
    });
  }

 private:
  struct Piece {
    const SdpaSequence& sequence;
    Partition partition;
    bool streams;
    int64_t first_part;
    int64_t first_split_block;  // among the blocks that have several splits
    int64_t first_split_state;  // in floats, of this problem's
    int64_t state_floats;       // of a block
  };

  // body.operator()<Attention>()
  template <class Body>
  static void by_way_of(bool streams, Body&& body) {
    if (streams)
      body.template operator()<StreamingAttention<T>>();
    else
      body.template operator()<PackedAttention<T>>();
  }

  void add(const SdpaSequence& sequence, const Work& call) {
    const SdpaProblem& problem = sequence.problem;
    const Partition partition(problem, call, threads_);
    if (partition.parts() == 0) return;
    // By the problem alone, not by how it is cut: results must not depend on the number of threads. Packing treats all
    // rows alike, however many there are.
    const int64_t all_rows = problem.query_length * problem.group_size();
    const bool streams = !problem.deterministic && all_rows <= StreamingAttention<T>::kMaxRows;
    const int64_t rows = partition.queries_per_block * problem.group_size();
    int64_t scratch = 0, state = 0;
    by_way_of(streams, [&]<class Attention>() {
      scratch = round_up(Attention::scratch_floats(problem, rows), kLanes);
      state = round_up(SoftmaxState::floats(Attention::padded_rows(rows), Attention::value_stride(problem)), kLanes);
    });
    pieces_.push_back({sequence, partition, streams, parts_, split_blocks_, split_state_floats_, state});
    parts_ += partition.parts();
    scratch_floats_ = larger(scratch_floats_, scratch);
    state_floats_ = larger(state_floats_, state);
    most_splits_ = larger(most_splits_, partition.splits);
    if (partition.splits == 1) return;
    split_blocks_ += partition.blocks;
    split_state_floats_ += partition.parts() * state;
  }

  void attend(int64_t part, int worker) {
    const auto after = std::upper_bound(pieces_.begin(), pieces_.end(), part,
                                        [](int64_t index, const Piece& piece) { return index < piece.first_part; });
    const Piece& piece = *std::prev(after);
    by_way_of(piece.streams, [&]<class Attention>() { attend<Attention>(piece, part - piece.first_part, worker); });
  }

  template <class Attention>
  void attend(const Piece& piece, int64_t part, int worker) {
    const SdpaProblem& problem = piece.sequence.problem;
    const Partition& partition = piece.partition;
    const int64_t rows = Attention::padded_rows(partition.queries_per_block * problem.group_size());
    const auto state_of = [&](int64_t index) {
      return SoftmaxState::in(state_memory(piece, index, worker), rows, Attention::value_stride(problem));
    };
    const RowBlock block = partition.block(problem, part / partition.splits);
    const SoftmaxState state = state_of(part);
    state.clear(Attention::padded_rows(block.rows()));
    const Visibility visibility(problem, call_.buffers, block);
    const KeyRange keys = partition.split(visibility.keys(), part % partition.splits);
    if (keys.count() > 0)
      Attention(piece.sequence, call_.buffers, block, visibility, scratch_ + worker * scratch_floats_)
          .attend(keys, state);
    if (partition.splits == 1) return finish<T>(call_, piece.sequence, block, state);
    // Whoever ends a block's last split combines them all, always in the same order.
    const int64_t index = part / partition.splits;
    if (ended_[piece.first_split_block + index].fetch_add(1, std::memory_order_acq_rel) + 1 < partition.splits) return;
    const SoftmaxState total = state_of(index * partition.splits);
    for (int64_t split = 1; split < partition.splits; ++split)
      combine(block, total, state_of(index * partition.splits + split));
    finish<T>(call_, piece.sequence, block, total);
  }

  // Splits are kept until all of their block have ended; what has none is finished by who began it.
  float* state_memory(const Piece& piece, int64_t part, int worker) const {
    if (piece.partition.splits == 1) return states_ + worker * state_floats_;
    return split_states_ + piece.first_split_state + part * piece.state_floats;
  }

  const SdpaCall& call_;
  Executor& executor_;
  int threads_ = 1;
  std::vector<Piece> pieces_;  // none without parts
  int64_t parts_ = 0, most_splits_ = 1, split_blocks_ = 0, split_state_floats_ = 0;
  int64_t scratch_floats_ = 0, state_floats_ = 0;  // what a worker needs at most
  float *scratch_ = nullptr, *states_ = nullptr, *split_states_ = nullptr;
  std::atomic<int64_t>* ended_ = nullptr;
};

}  // namespace

void sdpa(const SdpaCall& call, Executor& executor) {
  if (call.count == 0) return;
  dispatch_dtype(call.sequences[0].problem.dtype, [&]<class T>(const T*) { Run<T>(call, executor).run(); });
}

}  // namespace fusedops::cpu::FUSEDOPS_ISA
