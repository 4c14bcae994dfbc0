#include <algorithm>

#include "cpu/kernels/kernels.h"
#include "cpu/mask.h"
#include "cpu/sdpa_call.h"

namespace fusedops::cpu {
namespace {

// (total, heads, dim) as a batch of one: (1, heads, total, dim)
ArrayView as_batch(const ArrayView& packed) {
  return {packed.data,
          packed.dtype,
          {1, packed.shape[1], packed.shape[0], packed.shape[2]},
          {0, packed.strides[1], packed.strides[0], packed.strides[2]}};
}

}  // namespace

void sdpa(const SdpaProblem& problem, const SdpaBuffers& buffers, Executor& executor) {
  if (element_count(problem.output().shape) == 0 && !buffers.logsumexp) return;
  if (buffers.mask && has_keys_apart(*buffers.mask)) {
    const CopiedMask mask(*buffers.mask, executor);
    SdpaBuffers with_copy = buffers;
    with_copy.mask = mask.view();
    return sdpa(problem, with_copy, executor);
  }
  const SdpaSequence whole{problem};
  const RowStrides rows{problem.query_heads * problem.query_length, problem.query_length, 1};
  kernels().sdpa({&whole, 1, buffers, rows, rows}, executor);
}

void sdpa_varlen(const SdpaVarlenProblem& problem, const SdpaVarlenBuffers& buffers, Executor& executor) {
  std::vector<SdpaSequence> sequences = sdpa_sequences(problem, buffers.cu_seqlens_q, buffers.cu_seqlens_k);
  if (element_count(problem.output().shape) == 0 && !buffers.logsumexp) return;
  // The longest ones first: what is left when a thread ends is then short.
  std::stable_sort(sequences.begin(), sequences.end(), [](const SdpaSequence& a, const SdpaSequence& b) {
    const auto scores = [](const SdpaProblem& p) { return p.query_length * p.key_length; };
    return scores(a.problem) > scores(b.problem);
  });
  const SdpaBuffers batch{as_batch(buffers.q), as_batch(buffers.k), as_batch(buffers.v), std::nullopt,
                          buffers.sinks,       buffers.out,         buffers.logsumexp};
  const SdpaCall call{
      sequences.data(), problem.sequences, batch, {0, 1, problem.longest.query_heads}, {0, problem.total_queries, 1}};
  kernels().sdpa(call, executor);
}

}  // namespace fusedops::cpu
