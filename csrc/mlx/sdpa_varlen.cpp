#include "ops/sdpa_varlen.h"

#include <algorithm>
#include <limits>
#include <memory>

#include "cpu/cpu.h"
#include "mlx/fused_primitive.h"
#include "mlx/sdpa_varlen_composite.h"
#include "mlx/vmap.h"
#include "ops/checks.h"

namespace fusedops::mlx {
namespace {

// The inputs are q, k, v, cu_seqlens_q and cu_seqlens_k, then sinks if they are there.
struct SdpaVarlen {
  static constexpr const char* name = "FusedSdpaVarlen";
  SdpaOptions options;
  int64_t max_seqlen_q;
  int64_t max_seqlen_k;
  bool has_sinks;
  bool returns_logsumexp;
  std::shared_ptr<const std::vector<SdpaSequence>> known;  // null where the values of cu_seqlens were not looked at

  bool operator==(const SdpaVarlen&) const = default;

  static constexpr size_t sinks_index = 5;

  SdpaVarlenProblem problem(const Arrays& inputs) const {
    return sdpa_varlen_problem(info_of(inputs[0]), info_of(inputs[1]), info_of(inputs[2]), info_of(inputs[3]),
                               info_of(inputs[4]), optional_info(inputs, has_sinks, sinks_index), max_seqlen_q,
                               max_seqlen_k, options);
  }

  std::vector<bool> present() const { return {true, true, true, true, true, has_sinks}; }

  std::vector<ArrayInfo> outputs(const SdpaVarlenProblem& problem) const {
    if (returns_logsumexp) return {problem.output(), problem.logsumexp()};
    return {problem.output()};
  }

  // Here, on a stream's own thread, nobody would catch an error.
  void run_on_cpu(const SdpaVarlenProblem& problem, const std::vector<ArrayView>& inputs,
                  const std::vector<void*>& outputs) const {
    const cpu::SdpaVarlenBuffers buffers{inputs[0],  inputs[1],
                                         inputs[2],  inputs[3],
                                         inputs[4],  optional_input(inputs, has_sinks, sinks_index),
                                         outputs[0], returns_logsumexp ? static_cast<float*>(outputs[1]) : nullptr};
    try {
      cpu::sdpa_varlen(problem, buffers, cpu::own_threads());
    } catch (const ValueError&) {
      fill_with_nan(this->outputs(problem), outputs);
    }
  }

  Plan plan(const SdpaVarlenProblem& problem, const std::vector<ArrayView>& inputs) const {
    return sdpa_varlen_plan(problem, inputs[0], inputs[1], inputs[2], inputs[3], inputs[4],
                            optional_input(inputs, has_sinks, sinks_index), returns_logsumexp);
  }

  Arrays composite(const Arrays& inputs, mx::Stream s) const {
    const SdpaVarlenArrays arrays{inputs[0], inputs[1], inputs[2],
                                  inputs[3], inputs[4], optional_input(inputs, has_sinks, sinks_index)};
    const auto [out, logsumexp] = sdpa_varlen_composite(arrays, problem(inputs), options, known.get(), s);
    return returns_logsumexp ? Arrays{out, logsumexp} : Arrays{out};
  }

  // Folds the mapped axis into the heads.
  Arrays vmap(const Arrays& inputs, const std::vector<int>& axes, mx::Stream s) const {
    for (int i : {3, 4})
      if (axes[i] >= 0)
        checks::fail<ValueError>(i == 3 ? "cu_seqlens_q" : "cu_seqlens_k",
                                 " must not be mapped by vmap: all elements have the same sequences");
    const int extent = mapped_extent(inputs, axes);
    const auto folded = [&](size_t i, int heads_axis) {
      const mx::array mapped = mapped_in_full(inputs[i], axes[i], extent, s);
      return mx::flatten(mx::moveaxis(mapped, 0, heads_axis, s), heads_axis, heads_axis + 1, s);
    };
    Arrays arguments{folded(0, 1), folded(1, 1), folded(2, 1), inputs[3], inputs[4]};
    if (has_sinks) arguments.push_back(folded(sinks_index, 0));
    Arrays outputs = apply(*this, std::move(arguments), s);
    const int query_heads = outputs[0].shape(1) / std::max(extent, 1);
    outputs[0] = mx::moveaxis(mx::unflatten(outputs[0], 1, {extent, query_heads}, s), 1, 0, s);
    if (returns_logsumexp) outputs[1] = mx::unflatten(outputs[1], 0, {extent, query_heads}, s);
    return outputs;
  }

 private:
  static void fill_with_nan(const std::vector<ArrayInfo>& infos, const std::vector<void*>& outputs) {
    for (size_t i = 0; i < infos.size(); ++i) {
      const int64_t count = element_count(infos[i].shape);
      if (infos[i].dtype == DType::float32)
        std::fill_n(static_cast<float*>(outputs[i]), count, std::numeric_limits<float>::quiet_NaN());
      else
        std::fill_n(static_cast<uint16_t*>(outputs[i]), count, uint16_t{0x7fff});  // NaN in either 16-bit format
    }
  }
};

// The sequences, or null where nobody knows the values yet. Throws where these do not fit. Metal's arrays lie in memory
// that the CPU reads, too.
std::shared_ptr<const std::vector<SdpaSequence>> known_sequences(const SdpaVarlenProblem& problem,
                                                                 const mx::array& cu_seqlens_q,
                                                                 const mx::array& cu_seqlens_k, mx::Stream stream) {
  if (!has_kernel<SdpaVarlen>(stream.device) || !cu_seqlens_q.is_available() || !cu_seqlens_k.is_available())
    return nullptr;
  return std::make_shared<const std::vector<SdpaSequence>>(
      sdpa_sequences(problem, view_of(cu_seqlens_q), view_of(cu_seqlens_k)));
}

}  // namespace

Arrays sdpa_varlen(const mx::array& q, const mx::array& k, const mx::array& v, const mx::array& cu_seqlens_q,
                   const mx::array& cu_seqlens_k, const OptionalArray& sinks, int64_t max_seqlen_q,
                   int64_t max_seqlen_k, const SdpaOptions& options, bool return_logsumexp, Path path) {
  const mx::Stream stream = mx::default_stream(mx::default_device());
  SdpaVarlen op{options, max_seqlen_q, max_seqlen_k, sinks.has_value(), return_logsumexp, nullptr};
  if (options.deterministic) check_deterministic<SdpaVarlen>(stream, path);
  Arrays inputs{q, k, v, cu_seqlens_q, cu_seqlens_k};
  if (sinks) inputs.push_back(*sinks);
  op.known = known_sequences(op.problem(inputs), cu_seqlens_q, cu_seqlens_k, stream);
  return apply(op, std::move(inputs), stream, path);
}

}  // namespace fusedops::mlx
