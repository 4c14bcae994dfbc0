// GELU: one pass over memory.
#include "ops/gelu.h"

#include "cpu/kernels/activations.h"
#include "cpu/kernels/gelu_table.h"
#include "cpu/kernels/kernels.h"
#include "cpu/outputs.h"

namespace fusedops::cpu::FUSEDOPS_ISA {
namespace {

template <GeluForm form, class T>
void run(const GeluProblem& problem, const GeluBuffers& buffers, Executor& executor) {
  const ArrayView& x = buffers.x;
  const Extents extents = extents_of(problem.shape, is_contiguous(x) && !buffers.bias);
  const Rows rows(x);
  const bool has_bias = buffers.bias.has_value();
  Scratch<float> bias(has_bias ? extents.columns : 0);
  if (has_bias)
    dispatch_dtype(*problem.bias_dtype, [&]<class Bias>(const Bias*) {
      const auto* source = static_cast<const Bias*>(buffers.bias->data);
      for (int64_t i = 0; i < extents.columns; ++i) bias[i] = to_float(source[i * buffers.bias->strides[0]]);
    });
  const bool past_caches = write_past_caches(2 * extents.rows * extents.columns * sizeof(T));
  dispatch_stores(past_caches, [&]<class Whole>(Whole whole) {
    for_each_span(executor, extents.rows, extents.columns, rows_read_together<T>(rows), [&](const Span& span) {
      const Gelu<form, kAccuracyFor<T>> gelu;
      SpanReader<T> reader(x, rows, span);
      const float* span_bias = bias + span.first_column;
      for (int64_t row = span.first_row; row < span.last_row; ++row) {
        const T* source = reader.read(row);
        T* y = static_cast<T*>(buffers.y) + row * extents.columns + span.first_column;
        if (has_bias)
          for_each_vector_of<Whole>(y, span.columns(), [&](int64_t i, auto lanes) {
            store(y + i, gelu(load(source + i, lanes) + load(span_bias + i, lanes)), lanes);
          });
        else
          for_each_vector_of<Whole>(y, span.columns(),
                                    [&](int64_t i, auto lanes) { store(y + i, gelu(load(source + i, lanes)), lanes); });
      }
      finish_stores(whole);
    });
  });
}

}  // namespace

void gelu(const GeluProblem& problem, const GeluBuffers& buffers, Executor& executor) {
  dispatch_form(problem.form, [&]<GeluForm form>() {
    dispatch_dtype(problem.dtype, [&]<class T>(const T*) { run<form, T>(problem, buffers, executor); });
  });
}

}  // namespace fusedops::cpu::FUSEDOPS_ISA
