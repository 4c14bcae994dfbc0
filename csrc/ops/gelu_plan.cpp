// One launch. Without a bias a contiguous array is one long row, whatever its shape.
#include "core/rows.h"
#include "metal/gelu_parameters.h"
#include "ops/gelu.h"
#include "ops/operand_type.h"
#include "ops/row_tiles.h"

namespace fusedops {
namespace {

Launch gelu_launch(const GeluProblem& problem, const ArrayView& x, const std::optional<ArrayView>& bias,
                   const ArrayView& y) {
  const RowGrid grid = tiled_grid(y);
  const bool vectorized = has_vector_rows(y) && has_vector_rows(x) && has_vector_rows(bias);
  return {
      .source = "gelu",
      .kernel = "gelu",
      .template_arguments = {metal_type(problem.dtype), access_width(problem.dtype, vectorized)},
      .buffers = {{BufferRole::input, 0}, {BufferRole::input, bias ? 1 : 0}, {BufferRole::output, 0}},
      .parameters = bytes_of(GeluParameters{
          .x = row_layout("x", x),
          .grid = elementwise_grid(grid),
          .bias_stride = bias ? Rows(*bias).column_stride() : 0,
          .bias_type = operand_type(bias),
          .form = static_cast<int32_t>(problem.form),
      }),
      .threadgroups = grid.threadgroups,
      .threads_per_threadgroup = grid.threads_per_threadgroup,
  };
}

}  // namespace

Plan gelu_plan(const GeluProblem& problem, const ArrayView& x, const std::optional<ArrayView>& bias) {
  Plan plan;
  plan.outputs = {problem.output()};
  if (element_count(problem.shape) == 0) return plan;
  const ArrayView y = output_view(problem.output());
  if (!bias && is_contiguous(x))
    plan.launches = {gelu_launch(problem, flattened(x), bias, flattened(y))};
  else
    plan.launches = {gelu_launch(problem, x, bias, y)};
  return plan;
}

}  // namespace fusedops
