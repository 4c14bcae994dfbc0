// GEGLU's gradients: one pass over memory.
#include <utility>

#include "cpu/kernels/activations.h"
#include "cpu/kernels/gelu_slope.h"
#include "cpu/kernels/kernels.h"

namespace fusedops::cpu::FUSEDOPS_ISA {
namespace {

template <GeluForm form, class T>
void run(const GegluProblem& problem, const GegluBackwardBuffers& buffers, Executor& executor) {
  const GegluHalves halves = geglu_halves(problem, buffers.gate, buffers.up);
  const ArrayView &gate = halves.gate, &up = halves.up, &grad_y = buffers.grad_y;
  const bool one_row = !problem.packed && is_contiguous(gate) && is_contiguous(up) && is_contiguous(grad_y);
  const Extents extents = extents_of(problem.shape, one_row);
  // A packed gradient's rows hold both halves.
  const int64_t grad_stride = problem.packed ? 2 * extents.columns : extents.columns;
  T* grad_gate = static_cast<T*>(buffers.grad_gate);
  T* grad_up = problem.packed ? grad_gate + extents.columns : static_cast<T*>(buffers.grad_up);
  if (!problem.gate_first) std::swap(grad_gate, grad_up);
  const Rows gate_rows(gate), up_rows(up), grad_rows(grad_y);
  const int64_t together = rows_read_together<T>(gate_rows, up_rows, grad_rows);
  for_each_span(executor, extents.rows, extents.columns, together, [&](const Span& span) {
    SpanReader<T> gate_reader(gate, gate_rows, span), up_reader(up, up_rows, span),
        grad_reader(grad_y, grad_rows, span);
    for (int64_t row = span.first_row; row < span.last_row; ++row) {
      const T* gates = gate_reader.read(row);
      const T* ups = up_reader.read(row);
      const T* gradients = grad_reader.read(row);
      const int64_t target = row * grad_stride + span.first_column;
      for_each_vector(span.columns(), [&](int64_t i, auto lanes) {
        const ValueAndSlope activation = gelu_with_slope<form, kAccuracyFor<T>>(load(gates + i, lanes));
        const Vec gradient = load(gradients + i, lanes);
        store(grad_gate + target + i, gradient * load(ups + i, lanes) * activation.slope, lanes);
        store(grad_up + target + i, gradient * activation.value, lanes);
      });
    }
  });
}

}  // namespace

void geglu_backward(const GegluProblem& problem, const GegluBackwardBuffers& buffers, Executor& executor) {
  dispatch_form(problem.form, [&]<GeluForm form>() {
    dispatch_dtype(problem.dtype, [&]<class T>(const T*) { run<form, T>(problem, buffers, executor); });
  });
}

}  // namespace fusedops::cpu::FUSEDOPS_ISA
