#include "core/plan_module.h"

#include <nanobind/operators.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <functional>
#include <tuple>

#include "ops/geglu.h"
#include "ops/gelu.h"
#include "ops/rms_norm.h"
#include "ops/sdpa.h"
#include "ops/sdpa_varlen.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace fusedops {
namespace {

// (dtype's name, shape, strides in elements, byte offset from an aligned address)
using Layout = std::tuple<std::string, Shape, Strides, uintptr_t>;
using OptionalLayout = std::optional<Layout>;

ArrayView view_of(const Layout& layout) {
  const auto& [dtype, shape, strides, byte_offset] = layout;
  return {reinterpret_cast<const void*>(byte_offset), dtype_from_name(dtype), shape, strides};
}

std::optional<ArrayView> view_of(const OptionalLayout& layout) {
  return layout ? std::optional(view_of(*layout)) : std::nullopt;
}

ArrayInfo info_of(const ArrayView& view) { return {view.dtype, view.shape}; }

std::optional<ArrayInfo> info_of(const std::optional<ArrayView>& view) {
  return view ? std::optional(info_of(*view)) : std::nullopt;
}

Plan plan_rms_norm(const Layout& x_layout, const OptionalLayout& weight_layout, const OptionalLayout& residual_layout,
                   double eps, double weight_offset) {
  const ArrayView x = view_of(x_layout);
  const auto weight = view_of(weight_layout), residual = view_of(residual_layout);
  const auto problem = rms_norm_problem(info_of(x), info_of(weight), info_of(residual), eps, weight_offset);
  return rms_norm_plan(problem, x, weight, residual, /*with_reciprocal_rms=*/false);
}

Plan plan_gelu(const Layout& x_layout, const OptionalLayout& bias_layout, const std::string& approximate) {
  const ArrayView x = view_of(x_layout);
  const auto bias = view_of(bias_layout);
  return gelu_plan(gelu_problem(info_of(x), info_of(bias), gelu_form(approximate)), x, bias);
}

Plan plan_geglu(const Layout& gate_layout, const OptionalLayout& up_layout, const std::string& approximate,
                bool gate_first) {
  const ArrayView gate = view_of(gate_layout);
  const auto up = view_of(up_layout);
  return geglu_plan(geglu_problem(info_of(gate), info_of(up), gelu_form(approximate), gate_first), gate, up);
}

Plan plan_sdpa(const Layout& q_layout, const Layout& k_layout, const Layout& v_layout,
               const OptionalLayout& mask_layout, const OptionalLayout& sinks_layout, int causal,
               std::optional<double> scale, std::optional<int64_t> window_left, std::optional<int64_t> window_right,
               std::optional<double> softcap, bool deterministic, bool with_logsumexp) {
  const ArrayView q = view_of(q_layout), k = view_of(k_layout), v = view_of(v_layout);
  const auto mask = view_of(mask_layout), sinks = view_of(sinks_layout);
  const auto problem = sdpa_problem(info_of(q), info_of(k), info_of(v), info_of(mask), info_of(sinks),
                                    sdpa_options(causal, scale, window_left, window_right, softcap, deterministic));
  Plan plan = sdpa_plan(problem, q, k, v, mask, sinks, with_logsumexp);
  plan.description = sdpa_description(problem, plan, info_of(mask));
  return plan;
}

Plan plan_sdpa_varlen(const Layout& q_layout, const Layout& k_layout, const Layout& v_layout,
                      const Layout& cu_seqlens_q_layout, const Layout& cu_seqlens_k_layout,
                      const OptionalLayout& sinks_layout, int64_t max_seqlen_q, int64_t max_seqlen_k, int causal,
                      std::optional<double> scale, std::optional<int64_t> window_left,
                      std::optional<int64_t> window_right, std::optional<double> softcap, bool deterministic,
                      bool with_logsumexp) {
  const ArrayView q = view_of(q_layout), k = view_of(k_layout), v = view_of(v_layout);
  const ArrayView cu_seqlens_q = view_of(cu_seqlens_q_layout), cu_seqlens_k = view_of(cu_seqlens_k_layout);
  const auto sinks = view_of(sinks_layout);
  const auto problem = sdpa_varlen_problem(
      info_of(q), info_of(k), info_of(v), info_of(cu_seqlens_q), info_of(cu_seqlens_k), info_of(sinks), max_seqlen_q,
      max_seqlen_k, sdpa_options(causal, scale, window_left, window_right, softcap, deterministic));
  Plan plan = sdpa_varlen_plan(problem, q, k, v, cu_seqlens_q, cu_seqlens_k, sinks, with_logsumexp);
  plan.description = sdpa_varlen_description(problem, plan);
  return plan;
}

using Described = std::tuple<std::string, Shape>;

Described described(const ArrayInfo& array) { return {std::string(name_of(array.dtype)), array.shape}; }

std::vector<Described> described(const std::vector<ArrayInfo>& arrays) {
  std::vector<Described> all;
  for (const ArrayInfo& array : arrays) all.push_back(described(array));
  return all;
}

std::vector<ArrayInfo> infos_of(const std::vector<Described>& arrays) {
  std::vector<ArrayInfo> all;
  for (const auto& [dtype, shape] : arrays) all.push_back({dtype_from_name(dtype), shape});
  return all;
}

nb::bytes parameters_of(const Launch& launch) { return nb::bytes(launch.parameters.data(), launch.parameters.size()); }

// What pickle keeps of each class: all its members, as Python values.
using BindingState = std::tuple<int, int>;
using LaunchState = std::tuple<std::string, std::string, std::vector<std::string>, std::vector<Binding>, nb::bytes,
                               std::array<uint32_t, 3>, std::array<uint32_t, 3>>;
using PlanState =
    std::tuple<std::vector<Described>, std::vector<Described>, std::vector<Launch>, std::vector<std::string>>;

BindingState state_of(const Binding& binding) { return {static_cast<int>(binding.role), binding.index}; }

LaunchState state_of(const Launch& launch) {
  return {launch.source,         launch.kernel,       launch.template_arguments,     launch.buffers,
          parameters_of(launch), launch.threadgroups, launch.threads_per_threadgroup};
}

PlanState state_of(const Plan& plan) {
  return {described(plan.outputs), described(plan.scratch), plan.launches, plan.description};
}

void restore(Binding& binding, const BindingState& state) {
  const auto& [role, index] = state;
  new (&binding) Binding{static_cast<BufferRole>(role), index};
}

void restore(Launch& launch, const LaunchState& state) {
  const auto& [source, kernel, template_arguments, buffers, parameters, threadgroups, threads] = state;
  const auto* first = static_cast<const std::byte*>(parameters.data());
  new (&launch)
      Launch{source, kernel, template_arguments, buffers, {first, first + parameters.size()}, threadgroups, threads};
}

void restore(Plan& plan, const PlanState& state) {
  const auto& [outputs, scratch, launches, description] = state;
  new (&plan) Plan{infos_of(outputs), infos_of(scratch), launches, description};
}

size_t hash_of(const Binding& binding) { return std::hash<int>()(binding.index); }

size_t hash_of(const Launch& launch) { return std::hash<std::string>()(launch.name()); }

size_t hash_of(const Plan& plan) { return plan.launches.empty() ? 0 : hash_of(plan.launches[0]); }

// Equal where all members are, and copied by pickle's protocols, the oldest included.
template <class State, class T>
void define_as_value(nb::class_<T>& python_class) {
  python_class.def(nb::self == nb::self, nb::sig("def __eq__(self, other: object, /) -> bool"))
      .def("__hash__", [](const T& object) { return hash_of(object); })
      .def("__reduce__",
           [](nb::handle_t<T> object) {
             const nb::object make = nb::module_::import_("copyreg").attr("__newobj__");
             return nb::make_tuple(make, nb::make_tuple(object.type()), state_of(nb::cast<const T&>(object)));
           })
      .def("__setstate__", [](T& object, const State& state) { restore(object, state); });
}

}  // namespace

void define_plans(nb::module_& m) {
  nb::enum_<BufferRole>(m, "BufferRole", "What a Binding's index counts in.")
      .value("INPUT", BufferRole::input)
      .value("OUTPUT", BufferRole::output)
      .value("SCRATCH", BufferRole::scratch);
  auto binding = nb::class_<Binding>(m, "Binding", "A buffer of a Launch.")
                     .def_ro("role", &Binding::role)
                     .def_ro("index", &Binding::index);
  define_as_value<BindingState>(binding);
  auto launch = nb::class_<Launch>(m, "Launch", "One kernel and its geometry.")
                    .def_ro("source", &Launch::source)
                    .def_ro("kernel", &Launch::kernel)
                    .def_ro("template_arguments", &Launch::template_arguments)
                    .def_ro("buffers", &Launch::buffers)
                    .def_prop_ro("parameters", &parameters_of)
                    .def_ro("threadgroups", &Launch::threadgroups)
                    .def_ro("threads_per_threadgroup", &Launch::threads_per_threadgroup)
                    .def_prop_ro("name", &Launch::name, "The instantiated kernel's name.")
                    .def_prop_ro("text", &Launch::text, "What a Metal compiler takes.");
  define_as_value<LaunchState>(launch);
  auto plan = nb::class_<Plan>(m, "Plan", "What Metal would allocate and launch.")
                  .def_prop_ro("outputs", [](const Plan& plan) { return described(plan.outputs); })
                  .def_prop_ro("scratch", [](const Plan& plan) { return described(plan.scratch); })
                  .def_ro("launches", &Plan::launches)
                  .def_ro("description", &Plan::description,
                          "The plan in words, a line each; empty where it speaks for itself.");
  define_as_value<PlanState>(plan);

  m.def("plan_rms_norm", &plan_rms_norm, "x"_a, "weight"_a.none(), "residual"_a.none(), "eps"_a, "weight_offset"_a);
  m.def("plan_gelu", &plan_gelu, "x"_a, "bias"_a.none(), "approximate"_a);
  m.def("plan_geglu", &plan_geglu, "gate"_a, "up"_a.none(), "approximate"_a, "gate_first"_a);
  m.def("plan_sdpa", &plan_sdpa, "q"_a, "k"_a, "v"_a, "mask"_a.none(), "sinks"_a.none(), "causal"_a, "scale"_a.none(),
        "window_left"_a.none(), "window_right"_a.none(), "softcap"_a.none(), "deterministic"_a, "with_logsumexp"_a);
  m.def("plan_sdpa_varlen", &plan_sdpa_varlen, "q"_a, "k"_a, "v"_a, "cu_seqlens_q"_a, "cu_seqlens_k"_a,
        "sinks"_a.none(), "max_seqlen_q"_a, "max_seqlen_k"_a, "causal"_a, "scale"_a.none(), "window_left"_a.none(),
        "window_right"_a.none(), "softcap"_a.none(), "deterministic"_a, "with_logsumexp"_a);
}

}  // namespace fusedops
