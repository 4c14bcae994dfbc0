// RMSNorm: each row is read from memory once, stays in cache between the two passes, and is written once.
#include "ops/rms_norm.h"

#include "cpu/kernels/gather.h"
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/reciprocal_rms.h"
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
template <class Whole, class T, class Sum>
void add(const T* x, const Sum* residual, int64_t count, Sum* sum, Sum* kept) {
  for_each_vector_of<Whole>(sum, count, [&](int64_t i, auto lanes) {
    prefetch_next(x, i, count);
    prefetch_next(residual, i, count);
    const Vec v = load(x + i, lanes) + load(residual + i, lanes);
    if constexpr (__is_same(Whole, PastCaches)) store(sum + i, v, lanes);
    store(kept + i, v, cached(lanes));
  });
}

// `weight` may be null, which means ones.
template <class Whole, class Sum, class T>
void scale(const Sum* x, const float* weight, ReciprocalRms scale, int64_t count, T* y) {
  for_each_vector_of<Whole>(y, count, [&](int64_t i, auto lanes) {
    prefetch_next(x, i, count);
    const Vec v = scale.times(load(x + i, lanes));
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

template <class T, class Sum>
void run(const RmsNormProblem& problem, const RmsNormBuffers& buffers, Executor& executor) {
  const int64_t columns = problem.columns;
  const Rows x_rows(buffers.x);
  const Rows residual_rows(buffers.residual ? *buffers.residual : buffers.x);
  const Weights weights(buffers.weight, problem.weight_offset);
  const float without_weight = buffers.weight ? 1.f : 1.f + problem.weight_offset;
  const int64_t together = rows_read_together<T>(x_rows, residual_rows);
  const int64_t element_bytes = 2 * sizeof(T) + (buffers.residual ? 2 * sizeof(Sum) : 0);
  const bool past_caches = write_past_caches(element_bytes * problem.rows * columns);
  dispatch_stores(past_caches, [&]<class Whole>(Whole whole) {
    for_each_row_block(executor, problem.rows, columns, together, [&](const Span& span) {
      SpanReader<T> x_reader(buffers.x, x_rows, span);
      SpanReader<Sum> residual_reader(buffers.residual ? *buffers.residual : buffers.x, residual_rows, span);
      Scratch<Sum> kept_sum(buffers.residual && __is_same(Whole, PastCaches) ? columns : 0);
      for (int64_t row = span.first_row; row < span.last_row; ++row) {
        const T* x = x_reader.read(row);
        T* y = static_cast<T*>(buffers.y) + row * columns;
        const auto normalize = [&]<class Normalized>(const Normalized* values) {
          ReciprocalRms reciprocal_rms(sum_of_squares(values, columns), values, columns, problem.eps);
          if (buffers.reciprocal_rms) buffers.reciprocal_rms[row] = reciprocal_rms.value();
          reciprocal_rms.factor *= without_weight;
          scale<Whole>(values, weights.data(), reciprocal_rms, columns, y);
        };
        if (!buffers.residual) {
          normalize(x);
          continue;
        }
        Sum* sum = static_cast<Sum*>(buffers.sum) + row * columns;
        Sum* kept = kept_sum ? kept_sum : sum;
        add<Whole>(x, residual_reader.read(row), columns, sum, kept);
        normalize(static_cast<const Sum*>(kept));
      }
      finish_stores(whole);
    });
  });
}

}  // namespace

void rms_norm(const RmsNormProblem& problem, const RmsNormBuffers& buffers, Executor& executor) {
  if (problem.columns == 0 && !buffers.reciprocal_rms) return;
  dispatch_dtype(problem.dtype, [&]<class T>(const T*) {
    if (problem.sum_dtype == problem.dtype) return run<T, T>(problem, buffers, executor);
    run<T, float>(problem, buffers, executor);
  });
}

}  // namespace fusedops::cpu::FUSEDOPS_ISA
