#include <metal_stdlib>
using namespace metal;

namespace ops {
template <typename T, int N>
[[kernel]] void scale(device T* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] *= T(N);
}
}  // namespace ops

template <typename T>
[[kernel]] void negate(device T* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = -x[i];
}

#define INSTANCE(T) \
  template [[host_name("scale_" #T)]] [[kernel]] decltype(ops::scale<T, 4>) ops::scale<T, 4>;
INSTANCE(half)
INSTANCE(float)
template [[host_name("negate_int")]] [[kernel]] void negate<int>(device int* x [[buffer(0)]], uint i [[thread_position_in_grid]]);
template [[host_name("negate_uint")]] [[kernel]] void negate(device uint* x [[buffer(0)]], uint i [[thread_position_in_grid]]);
