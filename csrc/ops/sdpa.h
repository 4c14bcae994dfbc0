// softmax(softcap(scale * q k^T) + mask) v, with sinks joining the softmax's denominator.
// Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; computed blockwise as in FlashAttention, Dao 2023,
// https://arxiv.org/abs/2307.08691
#pragma once

#include <limits>
#include <optional>

#include "core/array.h"
#include "core/plan.h"

namespace fusedops {

enum class Causal : uint8_t { no, lower_right, upper_left };

// Query i sees the keys i + offset - left <= j <= i + offset + right. Causality is right == 0.
struct Band {
  static constexpr int64_t unbounded = std::numeric_limits<int64_t>::max() / 4;
  int64_t offset = 0;
  int64_t left = unbounded;
  int64_t right = unbounded;

  int64_t first_key(int64_t query) const { return query + offset - left; }
  int64_t last_key(int64_t query) const { return query + offset + right; }
};

// What the caller chose beside the arrays. A window of std::nullopt on a side is unbounded there.
struct SdpaOptions {
  Causal causal = Causal::no;
  std::optional<double> scale;  // default: 1 / sqrt(head_dim)
  std::optional<int64_t> window_left;
  std::optional<int64_t> window_right;
  std::optional<double> softcap;
  bool deterministic = false;

  bool operator==(const SdpaOptions&) const = default;
};

// As PyTorch's operators and the native modules take them, causality by its number. Throws ValueError.
SdpaOptions sdpa_options(int64_t causal, std::optional<double> scale, std::optional<int64_t> window_left,
                         std::optional<int64_t> window_right, std::optional<double> softcap, bool deterministic);

struct SdpaProblem {
  DType dtype;
  int64_t batch;
  int64_t query_heads;
  int64_t kv_heads;
  int64_t query_length;
  int64_t key_length;
  int64_t head_dim;
  int64_t value_dim;
  float scale;
  float softcap;  // 0: none
  Band band;
  // A row's result depends on that row's query and on the keys it sees alone: in no bit on how many rows there are.
  bool deterministic = false;

  ArrayInfo output() const { return {dtype, {batch, query_heads, query_length, value_dim}}; }
  ArrayInfo logsumexp() const { return {DType::float32, {batch, query_heads, query_length}}; }
  int64_t group_size() const { return kv_heads ? query_heads / kv_heads : 1; }
  // A row is a query of a query head.
  int64_t rows_of_kv_head() const { return group_size() * query_length; }
  bool has_band() const { return band.left != Band::unbounded || band.right != Band::unbounded; }
};

// Throws ValueError or TypeError.
SdpaProblem sdpa_problem(const ArrayInfo& q, const ArrayInfo& k, const ArrayInfo& v,
                         const std::optional<ArrayInfo>& mask, const std::optional<ArrayInfo>& sinks,
                         const SdpaOptions& options);

// How Metal computes it; of the arrays only their layout counts. The outputs are out, and the logsumexp where asked
// for.
Plan sdpa_plan(const SdpaProblem& problem, const ArrayView& q, const ArrayView& k, const ArrayView& v,
               const std::optional<ArrayView>& mask, const std::optional<ArrayView>& sinks, bool with_logsumexp);

// The plan in words, a line each: which kernel, tiles, splits, what is skipped, work and memory traffic.
std::vector<std::string> sdpa_description(const SdpaProblem& problem, const Plan& plan,
                                          const std::optional<ArrayInfo>& mask);

}  // namespace fusedops
