// The kernels of sdpa and sdpa_varlen, a file each: sdpa_plan() and sdpa_varlen_plan() describe the call, add_sdpa()
// chooses, and the kernels' own functions add the launches.
//
// Threadgroup counts: what grows with the arrays goes into x; CUDA takes no more than 65535 in y and z.
#pragma once

#include <vector>

#include "core/plan.h"
#include "metal/sdpa_parameters.h"
#include "ops/sdpa.h"

namespace fusedops {

// Where an operand is absent, something that is never touched.
struct SdpaBindings {
  Binding q, k, v, mask, sinks, cu_seqlens_q, cu_seqlens_k, out, logsumexp;
};

inline Binding input_buffer(int index) { return {BufferRole::input, index}; }
inline Binding output_buffer(int index) { return {BufferRole::output, index}; }

// Packed sequences are planned for as a batch of sequences that are as long as the longest.
struct SdpaCall {
  const SdpaProblem& problem;
  const ArrayView& q;  // packed sequences': as one batch of sdpa
  const ArrayView& k;
  const ArrayView& v;
  SdpaParameters parameters;  // all but what only one of the kernels takes
  SdpaBindings bindings;
  int64_t rows;          // of out
  int64_t full_batches;  // as many of them as all keys together would fill
  bool packed = false;

  // What the prefill and decode kernels are bound to.
  std::vector<Binding> buffers(Binding partials) const {
    const auto& [q, k, v, mask, sinks, cu_seqlens_q, cu_seqlens_k, out, logsumexp] = bindings;
    return {q, k, v, mask, sinks, cu_seqlens_q, cu_seqlens_k, out, logsumexp, partials};
  }
};

// Throws ValueError where arrays are too large for the kernels.
SdpaParameters sdpa_parameters(const SdpaProblem& problem, const ArrayView& q, const ArrayView& k, const ArrayView& v,
                               const std::optional<ArrayView>& mask, const std::optional<ArrayView>& sinks,
                               bool with_logsumexp);

// Adds no launches where there is nothing to compute.
void add_sdpa(const SdpaCall& call, Plan& plan);

// A template argument.
inline std::string truth(bool value) { return value ? "true" : "false"; }

// Whether the rows of an array can be read, from any row's start on, as vectors of `elements`: the last dimension is
// contiguous and holds a multiple of them, and so does every other stride; the first element is aligned.
bool has_vectors(const ArrayView& array, int64_t elements);

// How many blocks of `size` hold `count`.
inline int64_t blocks_of(int64_t count, int64_t size) { return (count + size - 1) / size; }

// The count, if a GPU can launch so many at once; else throws ValueError.
uint32_t threadgroup_count(int64_t count);

// Where threadgroups are too few, the keys are split over several: metal/sdpa_partials.h.
struct SdpaSplits {
  int64_t count;
  int64_t keys;  // of each, a multiple of a tile
};

// The most keys that `rows` rows of a KV head, next to each other, can see together.
int64_t most_visible_keys(const SdpaProblem& problem, int64_t rows);

SdpaSplits sdpa_splits(int64_t keys, int64_t tile_keys, int64_t fewest_keys, int64_t count_wanted);
Binding add_sdpa_partials(const SdpaCall& call, int64_t splits, Plan& plan);
void add_sdpa_combine(const SdpaCall& call, Binding partials, Plan& plan);

// metal/sdpa_prefill.metal: tiles of queries by tiles of keys, multiplied by the SIMD-group matrix unit.
bool sdpa_prefill_takes(const SdpaProblem& problem);
void add_sdpa_prefill(const SdpaCall& call, Plan& plan);

// metal/sdpa_decode_*.metal: few queries, split over the keys. Takes every call.
void add_sdpa_decode(const SdpaCall& call, Plan& plan);

}  // namespace fusedops
