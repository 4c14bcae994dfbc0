// RMSNorm: each row is read from memory once, stays in cache between the two passes, and is written once.
#include "ops/rms_norm.h"

#include "cpu/kernels/gather.h"
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"
#include "cpu/outputs.h"

namespace fusedops::cpu::FUSEDOPS_ISA {
namespace {

template <class T>
float sum_of_squares(const T* x, int64_t count) {
  constexpr int unroll = 4;  // independent sums hide the latency of the additions
  Vec sums[unroll] = {};
  int64_t i = 0;
  for (; i + unroll * kLanes <= count; i += unroll * kLanes)
    for (int u = 0; u < unroll; ++u) {
      const Vec v = load(x + i + u * kLanes);
      sums[u] += v * v;
    }
  for_each_vector(count - i, [&](int64_t offset, auto lanes) {
    const Vec v = load(x + i + offset, lanes);
    sums[0] += v * v;
  });
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

// `weight` may be null.
template <class Whole, class T, class Weight>
void scale(const T* x, const Weight* weight, float weight_offset, float factor, int64_t count, T* y) {
  const Vec factors = splat(factor), offset = splat(weight_offset);
  if (!weight) {
    const Vec constant = factors * (splat(1.f) + offset);
    for_each_vector_of<Whole>(y, count, [&](int64_t i, auto lanes) {
      prefetch_next(x, i, count);
      store(y + i, load(x + i, lanes) * constant, lanes);
    });
    return;
  }
  for_each_vector_of<Whole>(y, count, [&](int64_t i, auto lanes) {
    prefetch_next(x, i, count);
    store(y + i, load(x + i, lanes) * factors * (load(weight + i, lanes) + offset), lanes);
  });
}

template <class T, class Weight>
void run(const RmsNormProblem& problem, const RmsNormBuffers& buffers, Executor& executor) {
  const int64_t columns = problem.columns;
  const Rows x_rows(buffers.x);
  const Rows residual_rows(buffers.residual ? *buffers.residual : buffers.x);
  const Weight* weight = nullptr;
  Scratch<Weight> gathered_weight(buffers.weight && buffers.weight->strides[0] != 1 ? columns : 0);
  if (buffers.weight) {
    weight = static_cast<const Weight*>(buffers.weight->data);
    if (buffers.weight->strides[0] != 1) {
      gather(weight, buffers.weight->strides[0], columns, static_cast<Weight*>(gathered_weight));
      weight = gathered_weight;
    }
  }
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
        scale<Whole>(x, weight, problem.weight_offset, reciprocal_rms, columns, y);
      }
      finish_stores(whole);
    });
  });
}

}  // namespace

void rms_norm(const RmsNormProblem& problem, const RmsNormBuffers& buffers, Executor& executor) {
  dispatch_dtype(problem.dtype, [&]<class T>(const T*) {
    dispatch_dtype(problem.weight_dtype.value_or(problem.dtype),
                   [&]<class Weight>(const Weight*) { run<T, Weight>(problem, buffers, executor); });
  });
}

}  // namespace fusedops::cpu::FUSEDOPS_ISA
