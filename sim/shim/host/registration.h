// Registers kernels and function constants, and calls a kernel with its parameters bound.
#pragma once

namespace msl {
// The argument of type A that the parameter describes.
template <class A>
inline A bind(const MslLaunch& launch, const MslThread& thread, const MslParam& parameter) {
  if constexpr (std::is_reference_v<A>) {
    return *static_cast<std::remove_reference_t<A>*>(launch.buf[parameter.index]);
  } else if constexpr (std::is_pointer_v<A>) {
    return A(parameter.kind == MSL_TGMEM ? launch.tgmem[parameter.index] : launch.buf[parameter.index]);
  } else {
    const uint32_t* v = thread.v[parameter.kind];
    if constexpr (metal::detail::component_count<A> == 3) return A(v[0], v[1], v[2]);
    if constexpr (metal::detail::component_count<A> == 2) return A(v[0], v[1]);
    if constexpr (metal::detail::component_count<A> == 1) return A(v[0]);
  }
}

template <class... A, size_t... I>
inline void call(void (*kernel)(A...), const MslLaunch& launch, const MslThread& thread, const MslParam* parameters,
                 std::index_sequence<I...>) {
  kernel(bind<A>(launch, thread, parameters[I])...);
}
template <class... A>
inline void call(void (*kernel)(A...), const MslLaunch& launch, const MslThread& thread, const MslParam* parameters) {
  call(kernel, launch, thread, parameters, std::index_sequence_for<A...>());
}
template <auto F>
void entry(const MslLaunch& launch, const MslThread& thread, const MslParam* parameters) {
  call(F, launch, thread, parameters);
}

template <class A>
constexpr bool may_write =
    std::is_pointer_v<A> || std::is_reference_v<A> ? !std::is_const_v<std::remove_pointer_t<std::remove_reference_t<A>>>
                                                   : false;

template <class F>
struct Signature;
template <class... A>
struct Signature<void (*)(A...)> {
  static constexpr bool writes[] = {may_write<A>..., false};  // never empty
  static constexpr uint32_t arity = sizeof...(A);
};

template <auto F, class Parameters>
void register_kernel(const char* name) {
  using Kernel = Signature<decltype(F)>;
  const MslKernel kernel{name, entry<F>, Parameters::get(), Kernel::writes, Kernel::arity};
  msl_rt_kernel(&kernel);
}

// init computes a constant that depends on others; without it the host sets the value.
template <class T>
void register_constant(int index, const char* name, T& value, bool& defined, void (*init)()) {
  const MslConstant constant{name, index, &value, sizeof(T), &defined, init};
  msl_rt_constant(&constant);
}
}  // namespace msl
