#include "ops/sdpa.h"

#include <algorithm>

#include "ops/checks.h"

namespace fusedops {
namespace {

// An array with a batch of one serves every other's.
int64_t check_queries_keys_values(const ArrayInfo& q, const ArrayInfo& k, const ArrayInfo& v) {
  checks::floating("q", q);
  checks::same_dtype("k", k, "q", q);
  checks::same_dtype("v", v, "q", q);
  checks::rank_is("q", q, 4, "(batch, query_heads, query_length, head_dim)");
  checks::rank_is("k", k, 4, "(batch, kv_heads, key_length, head_dim)");
  checks::rank_is("v", v, 4, "(batch, kv_heads, key_length, value_dim)");
  int64_t batch = q.shape[0];
  for (const ArrayInfo* array : {&k, &v})
    if (batch == 1) batch = array->shape[0];
  const auto own_batch = [&](const ArrayInfo& array) { return array.shape[0] == 1 ? 1 : batch; };
  checks::shape_is("k", k, {own_batch(k), k.shape[1], k.shape[2], q.shape[3]}, ", with q's batch and head_dim");
  checks::shape_is("v", v, {own_batch(v), k.shape[1], k.shape[2], v.shape[3]},
                   ", with k's batch, kv_heads and key_length");
  const int64_t query_heads = q.shape[1], kv_heads = k.shape[1];
  if (kv_heads == 0 ? query_heads != 0 : query_heads % kv_heads != 0)
    checks::fail<ValueError>("q must have a multiple of k's ", kv_heads, " heads, got ", query_heads);
  return batch;
}

void check_mask(const ArrayInfo& mask, const Shape& scores) {
  if (mask.dtype != DType::boolean && !is_floating(mask.dtype))
    checks::fail<TypeError>("mask must be bool, float32, float16 or bfloat16, got ", dtype_name(mask));
  bool fits = mask.shape.size() <= scores.size();
  for (size_t i = 0; fits && i < mask.shape.size(); ++i) {
    const int64_t extent = mask.shape[mask.shape.size() - 1 - i];
    fits = extent == 1 || extent == scores[scores.size() - 1 - i];
  }
  if (!fits)
    checks::fail<ValueError>("mask must broadcast to (batch, query_heads, query_length, key_length), ",
                             checks::to_string(scores), ", got shape ", checks::to_string(mask.shape));
}

// Sinks of shape (batch, query_heads) are what a vmapped call folds into.
void check_sinks(const ArrayInfo& sinks, int64_t batch, int64_t query_heads) {
  checks::floating("sinks", sinks);
  if (sinks.shape != Shape{batch, query_heads})
    checks::shape_is("sinks", sinks, {query_heads}, ", one for each query head");
}

void check_numbers(const SdpaOptions& options) {
  if (options.scale) {
    checks::finite("scale", *options.scale);
    if (*options.scale != 0 && !checks::is_moderate(*options.scale))
      checks::fail<ValueError>("scale must be 0 or of a magnitude from 2^-100 to 2^100, got ", *options.scale);
  }
  if (options.softcap) {
    checks::positive("softcap", *options.softcap);
    if (!checks::is_moderate(*options.softcap))
      checks::fail<ValueError>("softcap must be from 2^-100 to 2^100, got ", *options.softcap);
  }
}

int64_t window_side(const std::optional<int64_t>& side) {
  if (!side) return Band::unbounded;
  if (*side < 0) checks::fail<ValueError>("window must not be negative, got ", *side, "; None leaves a side open");
  return std::min(*side, Band::unbounded);
}

Band band_of(const SdpaOptions& options, int64_t query_length, int64_t key_length) {
  const bool causal = options.causal != Causal::no;
  const int64_t right = window_side(options.window_right);
  return {
      .offset = options.causal == Causal::upper_left ? 0 : key_length - query_length,
      .left = window_side(options.window_left),
      .right = causal ? 0 : right,
  };
}

Causal causal_from(int64_t code) {
  if (code < 0 || code > static_cast<int64_t>(Causal::upper_left))
    checks::fail<ValueError>("causal must be 0 (no), 1 (lower right) or 2 (upper left), got ", code);
  return static_cast<Causal>(code);
}

}  // namespace

SdpaOptions sdpa_options(int64_t causal, std::optional<double> scale, std::optional<int64_t> window_left,
                         std::optional<int64_t> window_right, std::optional<double> softcap, bool deterministic) {
  return {causal_from(causal), scale, window_left, window_right, softcap, deterministic};
}

SdpaProblem sdpa_problem(const ArrayInfo& q, const ArrayInfo& k, const ArrayInfo& v,
                         const std::optional<ArrayInfo>& mask, const std::optional<ArrayInfo>& sinks,
                         const SdpaOptions& options) {
  const int64_t batch = check_queries_keys_values(q, k, v), query_heads = q.shape[1], query_length = q.shape[2],
                head_dim = q.shape[3];
  const int64_t kv_heads = k.shape[1], key_length = k.shape[2];
  if (mask) check_mask(*mask, {batch, query_heads, query_length, key_length});
  if (sinks) check_sinks(*sinks, batch, query_heads);
  check_numbers(options);
  const double default_scale = head_dim ? 1 / std::sqrt(static_cast<double>(head_dim)) : 1;
  return {
      .dtype = q.dtype,
      .batch = batch,
      .query_heads = query_heads,
      .kv_heads = kv_heads,
      .query_length = query_length,
      .key_length = key_length,
      .head_dim = head_dim,
      .value_dim = v.shape[3],
      .scale = static_cast<float>(options.scale.value_or(default_scale)),
      .softcap = static_cast<float>(options.softcap.value_or(0)),
      .band = band_of(options, query_length, key_length),
      .deterministic = options.deterministic,
  };
}

}  // namespace fusedops
