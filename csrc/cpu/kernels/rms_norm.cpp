// RMSNorm: each row is read from memory once, stays in cache between the two passes, and is written once.
#include "ops/rms_norm.h"

#include "cpu/kernels/gather.h"
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"

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

template <class T>
void add(const T* a, const T* b, int64_t count, T* sum) {
  for_each_vector(count,
                  [&](int64_t i, auto lanes) { store(sum + i, load(a + i, lanes) + load(b + i, lanes), lanes); });
}

// `weight` may be null.
template <class T, class Weight>
void scale(const T* x, const Weight* weight, float weight_offset, float factor, int64_t count, T* y) {
  const Vec factors = splat(factor), offset = splat(weight_offset);
  if (!weight) {
    const Vec constant = factors * (splat(1.f) + offset);
    for_each_vector(count, [&](int64_t i, auto lanes) { store(y + i, load(x + i, lanes) * constant, lanes); });
    return;
  }
  for_each_vector(count, [&](int64_t i, auto lanes) {
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
  for_each_row_block(executor, problem.rows, columns, [&](const Span& span) {
    SpanReader<T> x_reader(buffers.x, x_rows, span);
    SpanReader<T> residual_reader(buffers.residual ? *buffers.residual : buffers.x, residual_rows, span);
    for (int64_t row = span.first_row; row < span.last_row; ++row) {
      const T* x = x_reader.read(row);
      if (buffers.residual) {
        T* sum = static_cast<T*>(buffers.sum) + row * columns;
        add(x, residual_reader.read(row), columns, sum);
        x = sum;
      }
      const float mean_square = columns ? sum_of_squares(x, columns) / static_cast<float>(columns) : 0.f;
      const float reciprocal_rms = 1.f / __builtin_sqrtf(mean_square + problem.eps);
      if (buffers.reciprocal_rms) buffers.reciprocal_rms[row] = reciprocal_rms;
      scale(x, weight, problem.weight_offset, reciprocal_rms, columns, static_cast<T*>(buffers.y) + row * columns);
    }
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
