#include "mlx/sdpa_composite.h"

#include <limits>

#include "mlx/ops.h"
#include "mlx/visible.h"

namespace fusedops::mlx {
namespace {

// Inside, arrays are (batch, kv_heads, group, length, dim): the query heads that share keys have an axis of their own,
// of extent 1 in k and v.
constexpr int kHeads = 1, kGroup = 2, kQueries = 3, kKeys = 4;

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

mx::array to_float32(const mx::array& x, mx::Stream s) { return mx::astype(x, mx::float32, s); }

// A batch of one serves all.
mx::array of_batch(const mx::array& x, int64_t batch, mx::Stream s) {
  if (x.shape(0) == batch) return x;
  mx::Shape shape = x.shape();
  shape[0] = static_cast<int>(batch);
  return mx::broadcast_to(x, shape, s);
}

// Splits the axis of query heads into (kv_heads, group); an axis that broadcasts into two such.
mx::array grouped(const mx::array& x, int axis, const mx::array& k, mx::Stream s) {
  if (x.shape(axis) == 1) return mx::expand_dims(x, axis, s);
  const int kv_heads = k.shape(kHeads);
  return mx::unflatten(x, axis, {kv_heads, x.shape(axis) / kv_heads}, s);
}

// 1, 2, 3, ... along an axis of x, in int64. Made from x itself, since its extent may change under a shapeless replay.
mx::array ordinals(const mx::array& x, int axis, mx::Stream s) {
  std::vector<int> others;
  for (int i = 0; i < static_cast<int>(x.ndim()); ++i)
    if (i != axis) others.push_back(i);
  const mx::array ones = mx::all(mx::ones_like(x, mx::bool_, s), others, true, s);
  return mx::astype(mx::cumsum(mx::astype(ones, mx::int32, s), axis, false, true, s), mx::int64, s);
}

// (1, 1, 1, query_length, key_length)
mx::array band_visible(const mx::array& q, const mx::array& k, const Band& band, Causal causal, mx::Stream s) {
  const mx::array key_rows = ordinals(k, kQueries, s);
  const mx::array keys = mx::swapaxes(key_rows, kQueries, kKeys, s);
  mx::array queries = ordinals(q, kQueries, s);
  if (causal != Causal::upper_left) {
    const mx::array offset = mx::subtract(mx::max(key_rows, true, s), mx::max(queries, true, s), s);
    queries = mx::add(queries, offset, s);
  }
  const mx::array first = mx::subtract(queries, mx::array(band.left), s);
  const mx::array last = mx::add(queries, mx::array(band.right), s);
  return mx::logical_and(mx::greater_equal(keys, first, s), mx::less_equal(keys, last, s), s);
}

// (b, h, g, i, j), each extent being the scores' or 1.
mx::array aligned_mask(const mx::array& mask, const mx::array& k, mx::Stream s) {
  mx::array aligned = mask;
  while (aligned.ndim() < 4) aligned = mx::expand_dims(aligned, 0, s);
  return grouped(aligned, kHeads, k, s);
}

// (b, h, g, 1, 1), from (query_heads,) or (batch, query_heads).
mx::array aligned_sinks(const mx::array& sinks, const mx::array& k, mx::Stream s) {
  const mx::array split = grouped(to_float32(sinks, s), static_cast<int>(sinks.ndim()) - 1, k, s);
  return mx::expand_dims(split, {-2, -1}, s);
}

// The scores before anything is hidden. 1/sqrt(head_dim) is taken from q as it will be.
mx::array scores(const mx::array& q, const mx::array& k, const Visible& visible, const SdpaOptions& options,
                 mx::Stream s) {
  const mx::array scale = options.scale ? mx::array(static_cast<float>(*options.scale))
                                        : mx::sqrt(mx::number_of_elements(q, {-1}, true, mx::float32, s), s);
  const mx::array scaled = contract_to_weights(mx::multiply(q, scale, s), k, visible, s);
  if (!options.softcap) return scaled;
  const mx::array cap(static_cast<float>(*options.softcap));
  return mx::multiply(cap, mx::tanh(mx::divide(scaled, cap, s), s), s);
}

struct Softmax {
  mx::array weights;
  mx::array logsumexp;  // with the last dimension kept
};

// Over the last dimension, with sinks joining the sum. A row of nothing but minus infinity gets the weights 0.
Softmax softmax(const mx::array& scores, const OptionalArray& sinks, mx::Stream s) {
  const mx::array largest = mx::stop_gradient(mx::max(scores, -1, true, s), s);
  const mx::array sees = mx::not_equal(largest, mx::array(kMinusInfinity), s);
  mx::array reference = sinks ? mx::maximum(largest, mx::stop_gradient(*sinks, s), s) : largest;
  reference = mx::where(sees, reference, mx::array(0.f), s);
  const mx::array exponentials = mx::exp(mx::subtract(scores, reference, s), s);
  mx::array sum = mx::sum(exponentials, -1, true, s);
  if (sinks) sum = mx::add(sum, mx::exp(keep(mx::subtract(*sinks, reference, s), sees, 0, s), s), s);
  sum = keep(sum, sees, 1, s);
  return {mx::divide(exponentials, sum, s), keep(mx::add(reference, mx::log(sum, s), s), sees, kMinusInfinity, s)};
}

mx::array zero_output(const SdpaProblem& problem, mx::Stream s) {
  const ArrayInfo out = problem.output();
  return mx::zeros(to_mlx(out.shape), to_mlx(out.dtype), s);
}

SdpaOutputs without_scores(const SdpaProblem& problem, mx::Stream s) {
  return {zero_output(problem, s), mx::full(to_mlx(problem.logsumexp().shape), mx::array(kMinusInfinity), s)};
}

}  // namespace

SdpaOutputs sdpa_composite(const SdpaArrays& arrays, const SdpaProblem& problem, const SdpaOptions& options,
                           mx::Stream s) {
  const Shape scores_shape{problem.batch, problem.query_heads, problem.query_length, problem.key_length};
  if (element_count(scores_shape) == 0) return without_scores(problem, s);

  const auto in_full = [&](const mx::array& x) { return of_batch(to_float32(x, s), problem.batch, s); };
  const mx::array k = mx::expand_dims(in_full(arrays.k), kGroup, s);
  const mx::array v = mx::expand_dims(in_full(arrays.v), kGroup, s);
  const mx::array q = grouped(in_full(arrays.q), kHeads, k, s);

  Visible visible;
  if (problem.has_band()) visible = band_visible(q, k, problem.band, options.causal, s);
  OptionalArray bias;
  if (arrays.mask) {
    mx::array shows = aligned_mask(*arrays.mask, k, s);
    if (shows.dtype() != mx::bool_) {
      bias = to_float32(shows, s);
      shows = mx::not_equal(*bias, mx::array(kMinusInfinity), s);
    }
    visible = visible ? mx::logical_and(*visible, shows, s) : shows;
  }

  mx::array biased = scores(q, k, visible, options, s);
  if (bias) biased = mx::add(biased, *bias, s);
  if (visible) biased = keep(biased, *visible, kMinusInfinity, s);
  OptionalArray sinks;
  if (arrays.sinks) sinks = aligned_sinks(*arrays.sinks, k, s);
  const Softmax attention = softmax(biased, sinks, s);
  const mx::array logsumexp = mx::flatten(mx::squeeze(attention.logsumexp, -1, s), kHeads, kGroup, s);
  if (problem.value_dim == 0) return {zero_output(problem, s), logsumexp};  // MLX's CUDA products crash on empty values
  const mx::array out = mx::astype(contract_to_queries(attention.weights, v, visible, s), arrays.q.dtype(), s);
  return {mx::flatten(out, kHeads, kGroup, s), logsumexp};
}

}  // namespace fusedops::mlx
