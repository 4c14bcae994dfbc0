// What simdgroup_matrix.h needs of the host.
#pragma once

namespace metal::detail {
constexpr uint matrix_row(uint lane);
constexpr uint matrix_column(uint lane);
constexpr uint matrix_lane(uint row, uint column);

template <class T>
inline void check_full(const Lanes<T>& lanes) {
  if (lanes.active != ~0u) warn("simdgroup matrix operation without all 32 lanes", lanes.site);
}

inline void check_uniform(const void* matrix, ulong elements_per_row, ulong2 origin, bool transposed, MslOp operation,
                          Site site) {
  struct Arguments {
    const void* matrix;
    ulong elements_per_row, x, y, transposed;
  } arguments{matrix, elements_per_row, origin.x, origin.y, transposed};
  const auto lanes = post(arguments, operation, site);
  check_full(lanes);
  if (__builtin_memcmp(&arguments, &lanes.values[lanes.first_active()], sizeof arguments))
    warn("simdgroup_load/store arguments differ between lanes", site);
}

// sum += the caller's two elements of a * b. Not instrumented, like those in lanes.h.
template <class A, class B>
[[gnu::no_sanitize_thread]] inline void multiply_accumulate(float2& sum, const vec<A, 2>& a, const vec<B, 2>& b,
                                                            Site site) {
  struct Elements {
    vec<A, 2> a;
    vec<B, 2> b;
  };
  const auto lanes = post(Elements{a, b}, MSL_OP_MULTIPLY, site);
  check_full(lanes);
  const uint row = matrix_row(lanes.lane), column = matrix_column(lanes.lane);
  for (uint k = 0; k < 8; k++) {
    const float from_a = float(lanes.values[matrix_lane(row, k)].a[k & 1]);
    const vec<B, 2>& from_b = lanes.values[matrix_lane(k, column)].b;
    sum.x += from_a * float(from_b[0]);
    sum.y += from_a * float(from_b[1]);
  }
}
}  // namespace metal::detail
