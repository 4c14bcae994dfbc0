#include "ops/sdpa.h"

#include "cpu/cpu.h"
#include "mlx/fused_primitive.h"
#include "mlx/sdpa_composite.h"
#include "mlx/vmap.h"

namespace fusedops::mlx {
namespace {

// The inputs are q, k and v, then mask and sinks as far as they are there.
struct Sdpa {
  static constexpr const char* name = "FusedSdpa";
  SdpaOptions options;
  bool has_mask;
  bool has_sinks;
  bool returns_logsumexp;

  bool operator==(const Sdpa&) const = default;

  size_t mask_index() const { return 3; }
  size_t sinks_index() const { return has_mask ? 4 : 3; }

  SdpaProblem problem(const Arrays& inputs) const {
    return sdpa_problem(info_of(inputs[0]), info_of(inputs[1]), info_of(inputs[2]),
                        optional_info(inputs, has_mask, mask_index()), optional_info(inputs, has_sinks, sinks_index()),
                        options);
  }

  std::vector<bool> present() const { return {true, true, true, has_mask, has_sinks}; }

  std::vector<ArrayInfo> outputs(const SdpaProblem& problem) const {
    if (returns_logsumexp) return {problem.output(), problem.logsumexp()};
    return {problem.output()};
  }

  void run_on_cpu(const SdpaProblem& problem, const std::vector<ArrayView>& inputs,
                  const std::vector<void*>& outputs) const {
    const cpu::SdpaBuffers buffers{inputs[0],
                                   inputs[1],
                                   inputs[2],
                                   optional_input(inputs, has_mask, mask_index()),
                                   optional_input(inputs, has_sinks, sinks_index()),
                                   outputs[0],
                                   returns_logsumexp ? static_cast<float*>(outputs[1]) : nullptr};
    cpu::sdpa(problem, buffers, cpu::own_threads());
  }

  Plan plan(const SdpaProblem& problem, const std::vector<ArrayView>& inputs) const {
    return sdpa_plan(problem, inputs[0], inputs[1], inputs[2], optional_input(inputs, has_mask, mask_index()),
                     optional_input(inputs, has_sinks, sinks_index()), returns_logsumexp);
  }

  Arrays composite(const Arrays& inputs, mx::Stream s) const {
    const SdpaArrays arrays{inputs[0], inputs[1], inputs[2], optional_input(inputs, has_mask, mask_index()),
                            optional_input(inputs, has_sinks, sinks_index())};
    const auto [out, logsumexp] = sdpa_composite(arrays, problem(inputs), options, s);
    return returns_logsumexp ? Arrays{out, logsumexp} : Arrays{out};
  }

  // Folds the mapped axis into the batch.
  Arrays vmap(const Arrays& inputs, const std::vector<int>& axes, mx::Stream s) const {
    const int extent = mapped_extent(inputs, axes);
    Arrays folded;
    int batch = 1;  // a batch of one serves all
    for (int i : {0, 1, 2}) {
      folded.push_back(mapped_in_front(inputs[i], axes[i], s));
      if (batch == 1) batch = folded[i].shape(1);
    }
    for (mx::array& array : folded) array = mx::flatten(repeated(array, extent, batch, s), 0, 1, s);
    if (has_mask) folded.push_back(folded_mask(inputs[mask_index()], axes[mask_index()], extent, batch, s));
    if (has_sinks) folded.push_back(folded_sinks(inputs[sinks_index()], axes[sinks_index()], extent, batch, s));
    Arrays outputs = apply(*this, std::move(folded), s);
    for (mx::array& output : outputs) output = mx::unflatten(output, 0, {extent, batch}, s);
    return outputs;
  }

 private:
  // A mask that is the same for all batches and mapped elements stays as small as it is.
  static mx::array folded_mask(const mx::array& mask, int axis, int extent, int batch, mx::Stream s) {
    mx::array mapped = mapped_in_front(mask, axis, s);
    while (mapped.ndim() < 5) mapped = mx::expand_dims(mapped, 1, s);
    if (mapped.shape(0) != 1 || mapped.shape(1) != 1) mapped = repeated(mapped, extent, batch, s);
    return mx::flatten(mapped, 0, 1, s);
  }

  static mx::array folded_sinks(const mx::array& sinks, int axis, int extent, int batch, mx::Stream s) {
    mx::array mapped = mapped_in_front(sinks, axis, s);
    while (mapped.ndim() < 3) mapped = mx::expand_dims(mapped, 1, s);
    return mx::flatten(repeated(mapped, extent, batch, s), 0, 1, s);
  }

  static mx::array repeated(const mx::array& x, int extent, int batch, mx::Stream s) {
    mx::Shape shape = x.shape();
    shape[0] = extent;
    shape[1] = batch;
    return mx::broadcast_to(x, shape, s);
  }
};

}  // namespace

Arrays sdpa(const mx::array& q, const mx::array& k, const mx::array& v, const OptionalArray& mask,
            const OptionalArray& sinks, const SdpaOptions& options, bool return_logsumexp, Path path) {
  Arrays inputs{q, k, v};
  if (mask) inputs.push_back(*mask);
  if (sinks) inputs.push_back(*sinks);
  const mx::Stream stream = mx::default_stream(mx::default_device());
  if (options.deterministic) check_deterministic<Sdpa>(stream, path);
  const Sdpa op{options, mask.has_value(), sinks.has_value(), return_logsumexp};
  return apply(op, std::move(inputs), stream, path);
}

}  // namespace fusedops::mlx
