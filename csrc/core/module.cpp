// fusedops._core: validation for every framework, and the CPU operators on numpy arrays.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "core/plan_module.h"
#include "core/python_errors.h"
#include "core/python_module.h"
#include "core/python_threads.h"
#include "cpu/cpu.h"
#include "cpu/kernels/kernels.h"
#include "cpu/limits.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace fusedops {
namespace {

using Described = std::pair<std::string, Shape>;  // (dtype's name, shape), as backends describe their arrays
using OptionalDescribed = std::optional<Described>;
using Input = nb::ndarray<nb::ro, nb::device::cpu>;
using OptionalInput = std::optional<Input>;
using Output = nb::ndarray<nb::device::cpu, nb::c_contig>;
using OptionalOutput = std::optional<Output>;

ArrayInfo info_of(const Described& array) { return {dtype_from_name(array.first), array.second, array.first}; }

std::optional<ArrayInfo> info_of(const OptionalDescribed& array) {
  return array ? std::optional(info_of(*array)) : std::nullopt;
}

// numpy has no bfloat16 of its own: the numpy backend passes such arrays viewed as uint16.
DType dtype_of(nb::dlpack::dtype dtype) {
  if (dtype == nb::dtype<float>()) return DType::float32;
  if (dtype == nb::dtype<uint16_t>()) return DType::bfloat16;
  if (dtype == nb::dtype<bool>()) return DType::boolean;
  if (dtype == nb::dtype<int32_t>()) return DType::int32;
  const auto code = static_cast<nb::dlpack::dtype_code>(dtype.code);
  return code == nb::dlpack::dtype_code::Float && dtype.bits == 16 && dtype.lanes == 1 ? DType::float16 : DType::other;
}

ArrayView view_of(const Input& array) {
  ArrayView view{array.data(), dtype_of(array.dtype()), Shape(array.ndim()), Strides(array.ndim())};
  for (size_t i = 0; i < array.ndim(); ++i) {
    view.shape[i] = static_cast<int64_t>(array.shape(i));
    view.strides[i] = array.stride(i);
  }
  return view;
}

std::optional<ArrayView> view_of(const OptionalInput& array) {
  return array ? std::optional(view_of(*array)) : std::nullopt;
}

ArrayInfo info_of(const ArrayView& view) { return {view.dtype, view.shape}; }

std::optional<ArrayInfo> info_of(const std::optional<ArrayView>& view) {
  return view ? std::optional(info_of(*view)) : std::nullopt;
}

void* data_of(const OptionalOutput& array) { return array ? array->data() : nullptr; }

void check_rms_norm(const Described& x, const OptionalDescribed& weight, const OptionalDescribed& residual, double eps,
                    double weight_offset) {
  rms_norm_problem(info_of(x), info_of(weight), info_of(residual), eps, weight_offset);
}

void check_gelu(const Described& x, const OptionalDescribed& bias, const std::string& approximate) {
  gelu_problem(info_of(x), info_of(bias), gelu_form(approximate));
}

void check_geglu(const Described& gate, const OptionalDescribed& up, const std::string& approximate, bool gate_first) {
  geglu_problem(info_of(gate), info_of(up), gelu_form(approximate), gate_first);
}

void check_sdpa(const Described& q, const Described& k, const Described& v, const OptionalDescribed& mask,
                const OptionalDescribed& sinks, int causal, std::optional<double> scale,
                std::optional<int64_t> window_left, std::optional<int64_t> window_right, std::optional<double> softcap,
                bool deterministic) {
  sdpa_problem(info_of(q), info_of(k), info_of(v), info_of(mask), info_of(sinks),
               sdpa_options(causal, scale, window_left, window_right, softcap, deterministic));
}

// Without the values of cu_seqlens, which only some of those who ask can look at: check_cu_seqlens() is for them.
void check_sdpa_varlen(const Described& q, const Described& k, const Described& v, const Described& cu_seqlens_q,
                       const Described& cu_seqlens_k, const OptionalDescribed& sinks, int64_t max_seqlen_q,
                       int64_t max_seqlen_k, int causal, std::optional<double> scale,
                       std::optional<int64_t> window_left, std::optional<int64_t> window_right,
                       std::optional<double> softcap, bool deterministic) {
  sdpa_varlen_problem(info_of(q), info_of(k), info_of(v), info_of(cu_seqlens_q), info_of(cu_seqlens_k), info_of(sinks),
                      max_seqlen_q, max_seqlen_k,
                      sdpa_options(causal, scale, window_left, window_right, softcap, deterministic));
}

void rms_norm(const Input& x, const OptionalInput& weight, const OptionalInput& residual, double eps,
              double weight_offset, const Output& y, const OptionalOutput& sum) {
  const cpu::RmsNormBuffers buffers{view_of(x), view_of(weight), view_of(residual), y.data(), data_of(sum), nullptr};
  const RmsNormProblem problem =
      rms_norm_problem(info_of(buffers.x), info_of(buffers.weight), info_of(buffers.residual), eps, weight_offset);
  const ReleasedGil released;
  cpu::rms_norm(problem, buffers, cpu::own_threads());
}

void gelu(const Input& x, const OptionalInput& bias, const std::string& approximate, const Output& y) {
  const cpu::GeluBuffers buffers{view_of(x), view_of(bias), y.data()};
  const GeluProblem problem = gelu_problem(info_of(buffers.x), info_of(buffers.bias), gelu_form(approximate));
  const ReleasedGil released;
  cpu::gelu(problem, buffers, cpu::own_threads());
}

void geglu(const Input& gate, const OptionalInput& up, const std::string& approximate, bool gate_first,
           const Output& y) {
  const cpu::GegluBuffers buffers{view_of(gate), view_of(up), y.data()};
  const GegluProblem problem =
      geglu_problem(info_of(buffers.gate), info_of(buffers.up), gelu_form(approximate), gate_first);
  const ReleasedGil released;
  cpu::geglu(problem, buffers, cpu::own_threads());
}

void sdpa(const Input& q, const Input& k, const Input& v, const OptionalInput& mask, const OptionalInput& sinks,
          int causal, std::optional<double> scale, std::optional<int64_t> window_left,
          std::optional<int64_t> window_right, std::optional<double> softcap, bool deterministic, const Output& out,
          const OptionalOutput& logsumexp) {
  const cpu::SdpaBuffers buffers{view_of(q),
                                 view_of(k),
                                 view_of(v),
                                 view_of(mask),
                                 view_of(sinks),
                                 out.data(),
                                 static_cast<float*>(data_of(logsumexp))};
  const SdpaProblem problem = sdpa_problem(
      info_of(buffers.q), info_of(buffers.k), info_of(buffers.v), info_of(buffers.mask), info_of(buffers.sinks),
      sdpa_options(causal, scale, window_left, window_right, softcap, deterministic));
  const ReleasedGil released;
  cpu::sdpa(problem, buffers, cpu::own_threads());
}

void sdpa_varlen(const Input& q, const Input& k, const Input& v, const Input& cu_seqlens_q, const Input& cu_seqlens_k,
                 const OptionalInput& sinks, int64_t max_seqlen_q, int64_t max_seqlen_k, int causal,
                 std::optional<double> scale, std::optional<int64_t> window_left, std::optional<int64_t> window_right,
                 std::optional<double> softcap, bool deterministic, const Output& out,
                 const OptionalOutput& logsumexp) {
  const cpu::SdpaVarlenBuffers buffers{view_of(q),
                                       view_of(k),
                                       view_of(v),
                                       view_of(cu_seqlens_q),
                                       view_of(cu_seqlens_k),
                                       view_of(sinks),
                                       out.data(),
                                       static_cast<float*>(data_of(logsumexp))};
  const SdpaVarlenProblem problem =
      sdpa_varlen_problem(info_of(buffers.q), info_of(buffers.k), info_of(buffers.v), info_of(buffers.cu_seqlens_q),
                          info_of(buffers.cu_seqlens_k), info_of(buffers.sinks), max_seqlen_q, max_seqlen_k,
                          sdpa_options(causal, scale, window_left, window_right, softcap, deterministic));
  const ReleasedGil released;
  cpu::sdpa_varlen(problem, buffers, cpu::own_threads());
}

nb::dict arithmetic_rates(int threads) {
  std::vector<cpu::Rate> rates;
  {
    const ReleasedGil released;
    rates = cpu::arithmetic_rates(threads);
  }
  nb::dict by_set;
  for (const cpu::Rate& rate : rates) {
    const char* name = rate.instruction_set.c_str();
    if (!by_set.contains(name)) by_set[name] = nb::dict();
    nb::cast<nb::dict>(by_set[name])[rate.dtype.c_str()] = rate.gflops;
  }
  return by_set;
}

using Elementwise = void (*)(const float* x, float* y, int64_t count);

// For tests: y = function(x) by the CPU's kernels.
template <Elementwise cpu::Kernels::* function>
void apply(const nb::ndarray<const float, nb::device::cpu, nb::c_contig>& x,
           const nb::ndarray<float, nb::device::cpu, nb::c_contig>& y) {
  if (x.size() != y.size()) throw ValueError("x and y: must be of one size");
  (cpu::kernels().*function)(x.data(), y.data(), static_cast<int64_t>(x.size()));
}

void raise_if_interrupted() {
  const nb::gil_scoped_acquire gil;
  if (PyErr_CheckSignals()) throw nb::python_error();
}

}  // namespace
}  // namespace fusedops

FUSEDOPS_MODULE(_core, m) {
  using namespace fusedops;
  register_python_errors();
  let_signals_interrupt<raise_if_interrupted>();
  m.doc() = "Argument validation for every framework, and the CPU operators on numpy arrays.";

  m.def("check_rms_norm", &check_rms_norm, "x"_a, "weight"_a.none(), "residual"_a.none(), "eps"_a, "weight_offset"_a);
  m.def("check_gelu", &check_gelu, "x"_a, "bias"_a.none(), "approximate"_a);
  m.def("check_geglu", &check_geglu, "gate"_a, "up"_a.none(), "approximate"_a, "gate_first"_a);
  m.def("check_sdpa", &check_sdpa, "q"_a, "k"_a, "v"_a, "mask"_a.none(), "sinks"_a.none(), "causal"_a, "scale"_a.none(),
        "window_left"_a.none(), "window_right"_a.none(), "softcap"_a.none(), "deterministic"_a);

  m.def("check_sdpa_varlen", &check_sdpa_varlen, "q"_a, "k"_a, "v"_a, "cu_seqlens_q"_a, "cu_seqlens_k"_a,
        "sinks"_a.none(), "max_seqlen_q"_a, "max_seqlen_k"_a, "causal"_a, "scale"_a.none(), "window_left"_a.none(),
        "window_right"_a.none(), "softcap"_a.none(), "deterministic"_a);
  m.def("check_cu_seqlens", &check_cu_seqlens, "letter"_a, "values"_a, "total"_a, "longest"_a,
        "Raises a ValueError where the values of cu_seqlens_q or cu_seqlens_k (by its last letter) do not fit.");

  m.def("rms_norm", &rms_norm, "x"_a, "weight"_a.none(), "residual"_a.none(), "eps"_a, "weight_offset"_a, "y"_a,
        "sum"_a.none());
  m.def("gelu", &gelu, "x"_a, "bias"_a.none(), "approximate"_a, "y"_a);
  m.def("geglu", &geglu, "gate"_a, "up"_a.none(), "approximate"_a, "gate_first"_a, "y"_a);
  m.def("sdpa", &sdpa, "q"_a, "k"_a, "v"_a, "mask"_a.none(), "sinks"_a.none(), "causal"_a, "scale"_a.none(),
        "window_left"_a.none(), "window_right"_a.none(), "softcap"_a.none(), "deterministic"_a, "out"_a,
        "logsumexp"_a.none());

  m.def("sdpa_varlen", &sdpa_varlen, "q"_a, "k"_a, "v"_a, "cu_seqlens_q"_a, "cu_seqlens_k"_a, "sinks"_a.none(),
        "max_seqlen_q"_a, "max_seqlen_k"_a, "causal"_a, "scale"_a.none(), "window_left"_a.none(),
        "window_right"_a.none(), "softcap"_a.none(), "deterministic"_a, "out"_a, "logsumexp"_a.none());

  m.def("exp", &apply<&cpu::Kernels::exp>, "x"_a, "y"_a);
  m.def("exp2", &apply<&cpu::Kernels::exp2>, "x"_a, "y"_a);
  m.def("tanh", &apply<&cpu::Kernels::tanh>, "x"_a, "y"_a);

  define_plans(m);

  m.def("instruction_set", &cpu::instruction_set, "The instruction set that the CPU kernels use on this machine.");
  m.def("threads", [] { return cpu::own_threads().threads(); }, "Threads that numpy and MLX calls use.");
  m.def("copy_bandwidth", &cpu::copy_bandwidth, "num_bytes"_a, "threads"_a, nb::call_guard<ReleasedGil>(),
        "GB/s read plus written by the fastest way to copy `num_bytes` bytes, the best of several passes.");
  m.def("read_bandwidth", &cpu::read_bandwidth, "num_bytes"_a, "threads"_a, nb::call_guard<ReleasedGil>(),
        "GB/s of reading `num_bytes` bytes, the best of several passes.");
  m.def(
      "arithmetic_rates", &arithmetic_rates, "threads"_a,
      "GFLOP/s of multiply-adds into float32, by instruction set, the best first, and by the factors' dtype: the best "
      "of several passes.");
}
