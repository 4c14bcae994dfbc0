// One launch. A row is the work of as many threads as hold it in registers, so that it is read once. Of a row that is
// longer than what 1024 threads hold, all but the last tile is read twice; more threadgroups for a row would need a
// second launch and read everything twice.
#include <algorithm>

#include "core/rows.h"
#include "metal/rms_norm_parameters.h"
#include "ops/operand_type.h"
#include "ops/rms_norm.h"
#include "ops/row_tiles.h"

namespace fusedops {

Plan rms_norm_plan(const RmsNormProblem& problem, const ArrayView& x, const std::optional<ArrayView>& weight,
                   const std::optional<ArrayView>& residual, bool with_reciprocal_rms) {
  Plan plan;
  std::vector<Binding> buffers{
      {BufferRole::input, 0}, {BufferRole::input, weight ? 1 : 0}, {BufferRole::input, residual ? 2 : 0}};
  // An output that is not there is bound to y in its place and not written.
  const auto bind_output = [&](const ArrayInfo& output, bool is_there) {
    buffers.push_back({BufferRole::output, is_there ? static_cast<int>(plan.outputs.size()) : 0});
    if (is_there) plan.outputs.push_back(output);
  };
  bind_output(problem.output(), true);
  bind_output(problem.sum(), problem.has_residual);
  bind_output(problem.reciprocal_rms(), with_reciprocal_rms);
  if (problem.rows == 0 || (problem.columns == 0 && !with_reciprocal_rms)) return plan;

  const ArrayView y = output_view(problem.output());
  const RowGrid grid = row_grid(y);
  const bool vectorized =
      has_vector_rows(y) && has_vector_rows(x) && has_vector_rows(weight) && has_vector_rows(residual);
  plan.launches.push_back({
      .source = "rms_norm",
      .kernel = "rms_norm",
      .template_arguments = {metal_type(problem.dtype), metal_type(problem.sum_dtype),
                             access_width(problem.dtype, vectorized)},
      .buffers = std::move(buffers),
      .parameters = bytes_of(RmsNormParameters{
          .x = row_layout("x", x),
          .residual = residual ? row_layout("residual", *residual) : RowLayout{},
          .rows = problem.rows,
          .columns = problem.columns,
          .tiles_per_row = grid.tiles_per_row,
          .weight_stride = weight ? Rows(*weight).column_stride() : 0,
          .weight_type = operand_type(weight),
          .has_residual = problem.has_residual,
          .with_reciprocal_rms = with_reciprocal_rms,
          .reciprocal_columns = 1.0f / static_cast<float>(std::max<int64_t>(problem.columns, 1)),
          .eps = problem.eps,
          .weight_offset = problem.weight_offset,
      }),
      .threadgroups = grid.threadgroups,
      .threads_per_threadgroup = grid.threads_per_threadgroup,
  });
  return plan;
}

}  // namespace fusedops
