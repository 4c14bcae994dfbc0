// GELU's gradient: one pass over memory.
#include "cpu/kernels/activations.h"
#include "cpu/kernels/column_sums.h"
#include "cpu/kernels/gelu_slope.h"
#include "cpu/kernels/kernels.h"

namespace fusedops::cpu::FUSEDOPS_ISA {
namespace {

template <GeluForm form, class T>
void run(const GeluProblem& problem, const GeluBackwardBuffers& buffers, Executor& executor) {
  const ArrayView &x = buffers.x, &grad_y = buffers.grad_y;
  const Extents extents = extents_of(problem.shape, is_contiguous(x) && is_contiguous(grad_y));
  const Rows x_rows(x), grad_rows(grad_y);
  const int64_t together = rows_read_together<T>(x_rows, grad_rows);
  for_each_span(executor, extents.rows, extents.columns, together, [&](const Span& span) {
    SpanReader<T> x_reader(x, x_rows, span), grad_reader(grad_y, grad_rows, span);
    for (int64_t row = span.first_row; row < span.last_row; ++row) {
      const T* values = x_reader.read(row);
      const T* gradients = grad_reader.read(row);
      T* grad_x = static_cast<T*>(buffers.grad_x) + row * extents.columns + span.first_column;
      for_each_vector(span.columns(), [&](int64_t i, auto lanes) {
        store(grad_x + i,
              load(gradients + i, lanes) * gelu_with_slope<form, kAccuracyFor<T>>(load(values + i, lanes)).slope,
              lanes);
      });
    }
  });
}

template <GeluForm form, class T, class Bias>
void run_with_bias(const GeluProblem& problem, const GeluBackwardBuffers& buffers, Executor& executor) {
  const ArrayView &x = buffers.x, &grad_y = buffers.grad_y;
  const Extents extents = extents_of(problem.shape, false);
  const Rows x_rows(x), grad_rows(grad_y);
  Scratch<float> bias(extents.columns);
  widen_row(*buffers.bias, 0.f, bias);
  ColumnSums grad_bias(extents.rows, extents.columns);
  grad_bias.accumulate(executor, [&](const Span& span, float* sums) {
    SpanReader<T> x_reader(x, x_rows, span), grad_reader(grad_y, grad_rows, span);
    for (int64_t row = span.first_row; row < span.last_row; ++row) {
      const T* values = x_reader.read(row);
      const T* gradients = grad_reader.read(row);
      T* grad_x = static_cast<T*>(buffers.grad_x) + row * extents.columns;
      for_each_vector(extents.columns, [&](int64_t i, auto lanes) {
        const Vec biased = load(values + i, lanes) + load(bias + i, lanes);
        const Vec gradient = load(gradients + i, lanes) * gelu_with_slope<form, kAccuracyFor<T>>(biased).slope;
        store(grad_x + i, gradient, lanes);
        store(sums + i, load(sums + i, lanes) + gradient, lanes);
      });
    }
  });
  grad_bias.write(static_cast<Bias*>(buffers.grad_bias));
}

}  // namespace

void gelu_backward(const GeluProblem& problem, const GeluBackwardBuffers& buffers, Executor& executor) {
  dispatch_form(problem.form, [&]<GeluForm form>() {
    dispatch_dtype(problem.dtype, [&]<class T>(const T*) {
      if (!problem.bias_dtype) return run<form, T>(problem, buffers, executor);
      dispatch_dtype(*problem.bias_dtype,
                     [&]<class Bias>(const Bias*) { run_with_bias<form, T, Bias>(problem, buffers, executor); });
    });
  });
}

}  // namespace fusedops::cpu::FUSEDOPS_ISA
