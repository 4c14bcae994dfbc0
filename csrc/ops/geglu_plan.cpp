// One launch. Two contiguous arrays are one long row each, whatever their shape; a packed gate is read where it lies.
#include "core/rows.h"
#include "metal/geglu_parameters.h"
#include "ops/geglu.h"
#include "ops/row_tiles.h"

namespace fusedops {
namespace {

Launch geglu_launch(const GegluProblem& problem, const ArrayView& gate, const ArrayView& up, const ArrayView& y) {
  const RowGrid grid = tiled_grid(y);
  const bool vectorized = has_vector_rows(y) && has_vector_rows(gate) && has_vector_rows(up);
  const RowLayout gate_layout = row_layout("gate", gate);
  const int64_t half = grid.columns * gate_layout.column_stride;
  return {
      .source = "geglu",
      .kernel = "geglu",
      .template_arguments = {metal_type(problem.dtype), access_width(problem.dtype, vectorized)},
      .buffers = {{BufferRole::input, 0}, {BufferRole::input, problem.packed ? 0 : 1}, {BufferRole::output, 0}},
      .parameters = bytes_of(GegluParameters{
          .gate = gate_layout,
          .up = row_layout("up", up),
          .gate_start = problem.packed && !problem.gate_first ? half : 0,
          .up_start = problem.packed && problem.gate_first ? half : 0,
          .grid = elementwise_grid(grid),
          .form = static_cast<int32_t>(problem.form),
      }),
      .threadgroups = grid.threadgroups,
      .threads_per_threadgroup = grid.threads_per_threadgroup,
  };
}

}  // namespace

Plan geglu_plan(const GegluProblem& problem, const ArrayView& gate, const std::optional<ArrayView>& up) {
  Plan plan;
  plan.outputs = {problem.output()};
  if (element_count(problem.shape) == 0) return plan;
  const ArrayView y = output_view(problem.output());
  const GegluHalves halves = geglu_halves(problem, gate, up);
  if (!problem.packed && is_contiguous(halves.gate) && is_contiguous(halves.up))
    plan.launches = {geglu_launch(problem, flattened(halves.gate), flattened(halves.up), flattened(y))};
  else
    plan.launches = {geglu_launch(problem, halves.gate, halves.up, y)};
  return plan;
}

}  // namespace fusedops
