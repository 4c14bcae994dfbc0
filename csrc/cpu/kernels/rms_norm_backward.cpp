// RMSNorm's gradients. With r = 1 / rms(x), n = r x and g = grad_y (weight + offset):
//   grad_x = r (g - n (sum(g n) + r grad_r) / columns),   grad_weight = sum over rows of grad_y n.
// A row is read from memory once and stays in cache between the two passes.
#include "cpu/kernels/column_sums.h"
#include "cpu/kernels/gather.h"
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/reciprocal_rms.h"
#include "ops/rms_norm.h"

namespace fusedops::cpu::FUSEDOPS_ISA {
namespace {

// One element for each row, seen as a column.
ArrayView as_column(ArrayView array) {
  array.shape.push_back(1);
  array.strides.push_back(1);
  return array;
}

struct RowSums {
  float squares;   // x^2
  float products;  // g x
};

template <class Sum, class T>
RowSums row_sums(const Sum* x, const T* grad_y, const float* factors, int64_t count) {
  constexpr int64_t block = 1024;  // sums of blocks, added up, keep the chains of rounding errors short
  RowSums total{};
  for (int64_t first = 0; first < count; first += block) {
    Vec squares[2] = {}, products[2] = {};  // two independent sums each hide the latency of the additions
    const auto add = [&](int which, int64_t i, auto lanes) {
      const Vec v = load(x + i, lanes);
      squares[which] += v * v;
      products[which] += load(grad_y + i, lanes) * load(factors + i, lanes) * v;
    };
    const int64_t end = count < first + block ? count : first + block;
    int64_t i = first;
    for (; i + 2 * kLanes <= end; i += 2 * kLanes) {
      add(0, i, AllLanes{});
      add(1, i + kLanes, AllLanes{});
    }
    for_each_vector(end - i, [&](int64_t offset, auto lanes) { add(0, i + offset, lanes); });
    total.squares += sum_lanes(squares[0] + squares[1]);
    total.products += sum_lanes(products[0] + products[1]);
  }
  return total;
}

// T is y's type, Sum that of what was normalised.
template <class T, class Sum>
class Gradients {
 public:
  Gradients(const RmsNormProblem& problem, const RmsNormBackwardBuffers& buffers)
      : problem_(problem),
        buffers_(buffers),
        sum_rows_(buffers.sum),
        grad_rows_(buffers.grad_y),
        grad_sum_rows_(buffers.grad_sum ? *buffers.grad_sum : buffers.sum),
        grad_scale_rows_(buffers.grad_reciprocal_rms ? as_column(*buffers.grad_reciprocal_rms) : buffers.sum),
        factors_(problem.columns) {
    if (buffers.weight)
      widen_row(*buffers.weight, problem.weight_offset, factors_);
    else
      for (int64_t i = 0; i < problem.columns; ++i) factors_[i] = 1.f + problem.weight_offset;
  }

  int64_t rows_read_together() const {
    return FUSEDOPS_ISA::rows_read_together<T>(sum_rows_, grad_rows_, grad_sum_rows_);
  }

  // Writes grad_x for the span's rows and adds their part of grad_weight to `weight_sums`, which may be null.
  void run(const Span& span, float* weight_sums) {
    SpanReader<Sum> x_reader(buffers_.sum, sum_rows_, span);
    SpanReader<T> grad_reader(buffers_.grad_y, grad_rows_, span);
    SpanReader<Sum> grad_sum_reader(buffers_.grad_sum ? *buffers_.grad_sum : buffers_.sum, grad_sum_rows_, span);
    const int64_t columns = problem_.columns;
    for (int64_t row = span.first_row; row < span.last_row; ++row) {
      const Sum* x = x_reader.read(row);
      const T* grad_y = grad_reader.read(row);
      const Sum* grad_sum = buffers_.grad_sum ? grad_sum_reader.read(row) : nullptr;
      const RowSums sums = row_sums(x, grad_y, factors_, columns);
      const ReciprocalRms scale(sums.squares, x, columns, problem_.eps);
      const Vec projection = splat(projection_of(row, x, grad_y, sums.products, scale));
      Sum* grad_x = static_cast<Sum*>(buffers_.grad_x) + row * columns;
      for_each_vector(columns, [&](int64_t i, auto lanes) {
        const Vec normalized = scale.times(load(x + i, lanes)), gradient = load(grad_y + i, lanes);
        Vec result = scale.times(gradient * load(factors_ + i, lanes) - normalized * projection);
        if (grad_sum) result += load(grad_sum + i, lanes);
        store(grad_x + i, result, lanes);
        if (weight_sums) store(weight_sums + i, load(weight_sums + i, lanes) + gradient * normalized, lanes);
      });
    }
  }

 private:
  // (sum(g n) + r grad_r) / columns, where `products` is sum(g x).
  float projection_of(int64_t row, const Sum* x, const T* grad_y, float products, const ReciprocalRms& scale) {
    const float count = problem_.columns ? static_cast<float>(problem_.columns) : 1.f;
    const float grad_scale =
        buffers_.grad_reciprocal_rms
            ? static_cast<const float*>(buffers_.grad_reciprocal_rms->data)[grad_scale_rows_.offset(row)]
            : 0.f;
    if (!scale.is_rescaled && __builtin_isfinite(products)) return scale.factor * ((products + grad_scale) / count);
    const float normalized_products = sum_of_terms(problem_.columns, [&](int64_t i, auto lanes) {
      return load(grad_y + i, lanes) * load(factors_ + i, lanes) * scale.times(load(x + i, lanes));
    });
    return (normalized_products + grad_scale * scale.factor * scale.power) / count;
  }

  const RmsNormProblem& problem_;
  const RmsNormBackwardBuffers& buffers_;
  const Rows sum_rows_, grad_rows_, grad_sum_rows_, grad_scale_rows_;
  Scratch<float> factors_;
};

template <class T, class Sum>
void run(const RmsNormProblem& problem, const RmsNormBackwardBuffers& buffers, Executor& executor) {
  Gradients<T, Sum> gradients(problem, buffers);
  if (!buffers.weight)
    return for_each_row_block(executor, problem.rows, problem.columns, gradients.rows_read_together(),
                              [&](const Span& span) { gradients.run(span, nullptr); });
  ColumnSums grad_weight(problem.rows, problem.columns);
  grad_weight.accumulate(executor, [&](const Span& span, float* sums) { gradients.run(span, sums); });
  dispatch_dtype(*problem.weight_dtype,
                 [&]<class Weight>(const Weight*) { grad_weight.write(static_cast<Weight*>(buffers.grad_weight)); });
}

}  // namespace

void rms_norm_backward(const RmsNormProblem& problem, const RmsNormBackwardBuffers& buffers, Executor& executor) {
  if (problem.columns == 0) return;
  dispatch_dtype(problem.dtype, [&]<class T>(const T*) {
    if (problem.sum_dtype == problem.dtype) return run<T, T>(problem, buffers, executor);
    run<T, float>(problem, buffers, executor);
  });
}

}  // namespace fusedops::cpu::FUSEDOPS_ISA
