// fusedops._mlx: the operators on MLX arrays.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/variant.h>

#include <string>

#include "core/python_errors.h"
#include "core/python_module.h"
#include "mlx/operators.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace fusedops::mlx {
namespace {

using OneOrTwo = std::variant<mx::array, std::tuple<mx::array, mx::array>>;

OneOrTwo one_or_two(const Arrays& outputs) {
  if (outputs.size() == 1) return outputs[0];
  return std::tuple(outputs[0], outputs[1]);
}

using ShapeTuple = nb::typed<nb::tuple, int, nb::ellipsis>;

nb::typed<nb::tuple, nb::str, ShapeTuple> describe(const mx::array& array) {
  nb::list shape;
  for (auto extent : array.shape()) shape.append(extent);
  return nb::make_tuple(name_of(dtype_of(array)), nb::tuple(shape));
}

template <Path path>
void define_operators(nb::module_& m, const std::string& suffix) {
  m.def(("rms_norm" + suffix).c_str(),
        [](const mx::array& x, const OptionalArray& weight, const OptionalArray& residual, double eps,
           double weight_offset) { return one_or_two(rms_norm(x, weight, residual, eps, weight_offset, path)); },
        "x"_a, "weight"_a.none(), "residual"_a.none(), "eps"_a, "weight_offset"_a);
  m.def(("gelu" + suffix).c_str(),
        [](const mx::array& x, const OptionalArray& bias, std::string_view approximate) {
          return gelu(x, bias, approximate, path);
        },
        "x"_a, "bias"_a.none(), "approximate"_a);
  m.def(("geglu" + suffix).c_str(),
        [](const mx::array& gate, const OptionalArray& up, std::string_view approximate, bool gate_first) {
          return geglu(gate, up, approximate, gate_first, path);
        },
        "gate"_a, "up"_a.none(), "approximate"_a, "gate_first"_a = true);
  m.def(("sdpa" + suffix).c_str(),
        [](const mx::array& q, const mx::array& k, const mx::array& v, const OptionalArray& mask,
           const OptionalArray& sinks, int causal, std::optional<double> scale, std::optional<int64_t> window_left,
           std::optional<int64_t> window_right, std::optional<double> softcap, bool deterministic, bool return_lse) {
          const SdpaOptions options = sdpa_options(causal, scale, window_left, window_right, softcap, deterministic);
          return one_or_two(sdpa(q, k, v, mask, sinks, options, return_lse, path));
        },
        "q"_a, "k"_a, "v"_a, "mask"_a.none(), "sinks"_a.none(), "causal"_a, "scale"_a.none(), "window_left"_a.none(),
        "window_right"_a.none(), "softcap"_a.none(), "deterministic"_a, "return_lse"_a);
  m.def(("sdpa_varlen" + suffix).c_str(),
        [](const mx::array& q, const mx::array& k, const mx::array& v, const mx::array& cu_seqlens_q,
           const mx::array& cu_seqlens_k, const OptionalArray& sinks, int64_t max_seqlen_q, int64_t max_seqlen_k,
           int causal, std::optional<double> scale, std::optional<int64_t> window_left,
           std::optional<int64_t> window_right, std::optional<double> softcap, bool deterministic, bool return_lse) {
          const SdpaOptions options = sdpa_options(causal, scale, window_left, window_right, softcap, deterministic);
          return one_or_two(sdpa_varlen(q, k, v, cu_seqlens_q, cu_seqlens_k, sinks, max_seqlen_q, max_seqlen_k, options,
                                        return_lse, path));
        },
        "q"_a, "k"_a, "v"_a, "cu_seqlens_q"_a, "cu_seqlens_k"_a, "sinks"_a.none(), "max_seqlen_q"_a, "max_seqlen_k"_a,
        "causal"_a, "scale"_a.none(), "window_left"_a.none(), "window_right"_a.none(), "softcap"_a.none(),
        "deterministic"_a, "return_lse"_a);
}

}  // namespace
}  // namespace fusedops::mlx

FUSEDOPS_MODULE(_mlx, m) {
  using namespace fusedops::mlx;
  // mlx.core registers the type of its arrays, which are arguments here.
  nb::module_::import_("mlx.core");
  fusedops::register_python_errors();
  m.doc() = "The operators on MLX arrays.";
  m.def("describe", &describe, "array"_a, "The name of an array's dtype, and its shape.");
  define_operators<Path::kernel>(m, "");
  define_operators<Path::composite>(m, "_composite");
}
