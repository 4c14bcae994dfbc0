// Calls a kernel with its parameters bound.
#pragma once

namespace msl {
extern __shared__ __align__(16) char dynamic_shared_memory[];

template <int kind>
MSL_FN inline uint3 builtin(const MslArgs& arguments) {
  const uint index = msl_thread_index();
  if constexpr (kind == MSL_POS_GRID || kind == MSL_POS_TG) {
    uint3 position = {threadIdx.x, threadIdx.y, threadIdx.z};
#ifdef MSL_MATRICES
    position = {index % blockDim.x, index / blockDim.x % blockDim.y, index / blockDim.x / blockDim.y};
#endif
    if constexpr (kind == MSL_POS_TG) return position;
    return {blockIdx.x * blockDim.x + position.x, blockIdx.y * blockDim.y + position.y,
            blockIdx.z * blockDim.z + position.z};
  }
  if constexpr (kind == MSL_TG_POS)
    return {blockIdx.x, blockIdx.y, blockIdx.z};
  else if constexpr (kind == MSL_TG_SIZE)
    return {blockDim.x, blockDim.y, blockDim.z};
  else if constexpr (kind == MSL_GRID_SIZE)
    return {arguments.threads[0], arguments.threads[1], arguments.threads[2]};
  else if constexpr (kind == MSL_TGS_PER_GRID)
    return {gridDim.x, gridDim.y, gridDim.z};
  else if constexpr (kind == MSL_IDX_TG)
    return {index, 0u, 0u};
  else if constexpr (kind == MSL_LANE)
    return {index % 32, 0u, 0u};
  else if constexpr (kind == MSL_SIMD)
    return {index / 32, 0u, 0u};
  else if constexpr (kind == MSL_NSIMD)
    return {(blockDim.x * blockDim.y * blockDim.z + 31) / 32, 0u, 0u};
  else if constexpr (kind == MSL_SIMD_SIZE)
    return {32u, 0u, 0u};
  else if constexpr (kind == MSL_QUAD_LANE)
    return {index % 4, 0u, 0u};
  else
    return {index / 4, 0u, 0u};
}

// The argument of type A for a parameter of that kind and index.
template <class A, int kind, int index>
MSL_FN inline A bind(const MslArgs& arguments) {
  if constexpr (std::is_reference_v<A>) {
    return *static_cast<std::remove_reference_t<A>*>(arguments.buf[index]);
  } else if constexpr (std::is_pointer_v<A> && kind == MSL_TGMEM) {
    return A(dynamic_shared_memory + arguments.tgmem[index]);
  } else if constexpr (std::is_pointer_v<A>) {
    return A(arguments.buf[index]);
  } else {
    const uint3 v = builtin<kind>(arguments);
    if constexpr (metal::detail::component_count<A> == 3)
      return A(v.x, v.y, v.z);
    else if constexpr (metal::detail::component_count<A> == 2)
      return A(v.x, v.y);
    else
      return A(v.x);
  }
}

template <class Parameters, auto F, class... A, size_t... I>
MSL_FN inline void launch(void (*)(A...), const MslArgs& arguments, std::index_sequence<I...>) {
  F(bind<A, Parameters::kind(I), Parameters::index(I)>(arguments)...);
}
template <class Parameters, auto F, class... A>
MSL_FN inline void launch(void (*kernel)(A...), const MslArgs& arguments) {
  launch<Parameters, F>(kernel, arguments, std::index_sequence_for<A...>());
}
}  // namespace msl
