// RMSNorm: each row is read from memory once, stays in cache between the two passes, and is written once.
#include "ops/rms_norm.h"

#include "cpu/kernels/gather.h"
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/vector_pairs.h"
#include "cpu/outputs.h"

namespace fusedops::cpu::FUSEDOPS_ISA {
namespace {

template <class T>
float sum_of_squares(const T* x, int64_t count) {
  constexpr int unroll = 4;  // independent sums hide the latency of the additions
  Vec sums[unroll] = {};
  const auto add = [&](int64_t i, auto lanes, Vec& sum) {
    const auto v = DotOperand<T>::load(x + i, lanes);
    sum = multiply_add(v, v, sum);
  };
  int64_t i = 0;
  for (; i + unroll * kPairLanes <= count; i += unroll * kPairLanes)
    for (int u = 0; u < unroll; ++u) add(i + u * kPairLanes, AllLanes{}, sums[u]);
  for_each_pair(count - i, [&](int64_t offset, auto lanes) { add(i + offset, lanes, sums[0]); });
  return sum_lanes((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// Asks for the element that lies `count` further, which with rows that follow one another is the next row's: what is
// done with a row leaves memory the time to bring it into L2. Harmless where nothing lies there.
template <class T>
void prefetch_next(const T* row, int64_t i, int64_t count) {
  __builtin_prefetch(row + i + count, 0, 2);
}

// Where `sum` is written past the caches, `kept` gets it, too; else it is `sum` itself.
template <class Whole, class T>
void add(const T* a, const T* b, int64_t count, T* sum, T* kept) {
  for_each_vector_of<Whole>(sum, count, [&](int64_t i, auto lanes) {
    prefetch_next(a, i, count);
    prefetch_next(b, i, count);
    const Vec v = load(a + i, lanes) + load(b + i, lanes);
    if constexpr (__is_same(Whole, PastCaches)) store(sum + i, v, lanes);
    store(kept + i, v, cached(lanes));
  });
}

// `weight` may be null, which means ones.
template <class Whole, class T>
void scale(const T* x, const float* weight, float factor, int64_t count, T* y) {
  const Vec factors = splat(factor);
  for_each_vector_of<Whole>(y, count, [&](int64_t i, auto lanes) {
    prefetch_next(x, i, count);
    const Vec v = load(x + i, lanes) * factors;
    store(y + i, weight ? v * load(weight + i, lanes) : v, lanes);
  });
}

// weight + offset in float32, where it lies or made once for all rows.
class Weights {
 public:
  Weights(const std::optional<ArrayView>& weight, float offset)
      : widened_(weight && !is_usable(*weight, offset) ? weight->shape[0] : 0) {
    if (!weight) return;
    data_ = widened_ ? widened_ : static_cast<const float*>(weight->data);
    if (widened_) widen_row(*weight, offset, widened_);
  }

  const float* data() const { return data_; }  // null: there is no weight

 private:
  static bool is_usable(const ArrayView& weight, float offset) {
    return weight.dtype == DType::float32 && weight.strides[0] == 1 && offset == 0;
  }

  Scratch<float> widened_;
  const float* data_ = nullptr;
};

template <class T>
void run(const RmsNormProblem& problem, const RmsNormBuffers& buffers, Executor& executor) {
  const int64_t columns = problem.columns;
  const Rows x_rows(buffers.x);
  const Rows residual_rows(buffers.residual ? *buffers.residual : buffers.x);
  const Weights weights(buffers.weight, problem.weight_offset);
  const float without_weight = buffers.weight ? 1.f : 1.f + problem.weight_offset;
  const int64_t arrays = buffers.residual ? 4 : 2;
  const bool past_caches = write_past_caches(arrays * problem.rows * columns * sizeof(T));
  dispatch_stores(past_caches, [&]<class Whole>(Whole whole) {
    for_each_row_block(executor, problem.rows, columns, [&](const Span& span) {
      SpanReader<T> x_reader(buffers.x, x_rows, span);
      SpanReader<T> residual_reader(buffers.residual ? *buffers.residual : buffers.x, residual_rows, span);
      Scratch<T> kept_sum(buffers.residual && __is_same(Whole, PastCaches) ? columns : 0);
      for (int64_t row = span.first_row; row < span.last_row; ++row) {
        const T* x = x_reader.read(row);
        if (buffers.residual) {
          T* sum = static_cast<T*>(buffers.sum) + row * columns;
          T* kept = kept_sum ? kept_sum : sum;
          add<Whole>(x, residual_reader.read(row), columns, sum, kept);
          x = kept;
        }
        const float mean_square = columns ? sum_of_squares(x, columns) / static_cast<float>(columns) : 0.f;
        const float reciprocal_rms = 1.f / __builtin_sqrtf(mean_square + problem.eps);
        if (buffers.reciprocal_rms) buffers.reciprocal_rms[row] = reciprocal_rms;
        T* y = static_cast<T*>(buffers.y) + row * columns;
        scale<Whole>(x, weights.data(), reciprocal_rms * without_weight, columns, y);
      }
      finish_stores(whole);
    });
  });
}

}  // namespace

void rms_norm(const RmsNormProblem& problem, const RmsNormBuffers& buffers, Executor& executor) {
  dispatch_dtype(problem.dtype, [&]<class T>(const T*) { run<T>(problem, buffers, executor); });
}

}  // namespace fusedops::cpu::FUSEDOPS_ISA
