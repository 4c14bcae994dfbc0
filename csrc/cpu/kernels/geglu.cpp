// GEGLU: one pass over memory, the product never leaves registers.
#include "ops/geglu.h"

#include "cpu/kernels/activations.h"
#include "cpu/kernels/gelu_table.h"
#include "cpu/kernels/kernels.h"
#include "cpu/outputs.h"

namespace fusedops::cpu::FUSEDOPS_ISA {
namespace {

template <GeluForm form, class T>
void run(const GegluProblem& problem, const GegluBuffers& buffers, Executor& executor) {
  const ArrayView& gate = buffers.gate;
  const ArrayView& up = *buffers.up;
  const Extents extents = extents_of(problem.shape, !problem.packed && is_contiguous(gate) && is_contiguous(up));
  const Rows gate_rows(gate), up_rows(up);
  const int64_t together = rows_read_together<T>(gate_rows, up_rows);
  const bool past_caches = write_past_caches(3 * extents.rows * extents.columns * sizeof(T));
  dispatch_stores(past_caches, [&]<class Whole>(Whole whole) {
    for_each_span(executor, extents.rows, extents.columns, together, [&](const Span& span) {
      const Gelu<form, kAccuracyFor<T>> gelu;
      SpanReader<T> gate_reader(gate, gate_rows, span), up_reader(up, up_rows, span);
      for (int64_t row = span.first_row; row < span.last_row; ++row) {
        const T* gates = gate_reader.read(row);
        const T* ups = up_reader.read(row);
        T* y = static_cast<T*>(buffers.y) + row * extents.columns + span.first_column;
        for_each_vector_of<Whole>(y, span.columns(), [&](int64_t i, auto lanes) {
          store(y + i, gelu(load(gates + i, lanes)) * load(ups + i, lanes), lanes);
        });
      }
      finish_stores(whole);
    });
  });
}

}  // namespace

void geglu(const GegluProblem& problem, const GegluBuffers& buffers, Executor& executor) {
  dispatch_form(problem.form, [&]<GeluForm form>() {
    dispatch_dtype(problem.dtype, [&]<class T>(const T*) { run<form, T>(problem, buffers, executor); });
  });
}

}  // namespace fusedops::cpu::FUSEDOPS_ISA
