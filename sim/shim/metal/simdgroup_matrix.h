// <metal_simdgroup_matrix>: 8x8 matrices spread over a SIMD-group, in the layout of Apple GPUs.
//
// A target supplies detail::check_uniform, which sees the arguments that all lanes must share, and
// detail::multiply_accumulate. Both must be reached by all 32 lanes.
#pragma once

namespace metal {
namespace detail {
// Each lane holds the elements (row, column) and (row, column + 1).
MSL_FN constexpr uint matrix_row(uint lane) { return (lane & 16) >> 2 | (lane >> 1 & 3); }
MSL_FN constexpr uint matrix_column(uint lane) { return (lane & 8) >> 1 | (lane & 1) << 1; }
MSL_FN constexpr uint matrix_lane(uint row, uint column) {
  return (row & 4) << 2 | (row & 3) << 1 | (column & 4) << 1 | (column >> 1 & 1);
}
}  // namespace detail

template <class T, int Columns, int Rows>
struct simdgroup_matrix {
  static_assert(Columns == 8 && Rows == 8, "only 8x8 exists");
  static_assert(detail::is_one_of<T, float, half, bfloat>, "only float, half and bfloat exist");
  vec<T, 2> elements;

  simdgroup_matrix() = default;
  MSL_FN explicit simdgroup_matrix(T diagonal) {
    const uint row = detail::matrix_row(msl_rt_lane()), column = detail::matrix_column(msl_rt_lane());
    elements = vec<T, 2>(row == column ? diagonal : T(0), row == column + 1 ? diagonal : T(0));
  }
  MSL_FN vec<T, 2>& thread_elements() { return elements; }
  MSL_FN const vec<T, 2>& thread_elements() const { return elements; }
};

typedef simdgroup_matrix<float, 8, 8> simdgroup_float8x8;
typedef simdgroup_matrix<half, 8, 8> simdgroup_half8x8;
typedef simdgroup_matrix<bfloat, 8, 8> simdgroup_bfloat8x8;

template <class T, int Columns, int Rows = Columns>
MSL_FN inline simdgroup_matrix<T, Columns, Rows> make_filled_simdgroup_matrix(T x) {
  simdgroup_matrix<T, Columns, Rows> matrix;
  matrix.elements = vec<T, 2>(x);
  return matrix;
}

namespace detail {
// The offset of the calling lane's element i of a matrix in memory.
MSL_FN inline ulong matrix_offset(int i, ulong elements_per_row, ulong2 origin, bool transposed) {
  const ulong row = matrix_row(msl_rt_lane()), column = matrix_column(msl_rt_lane()) + i;
  return transposed ? (origin.y + column) * elements_per_row + origin.x + row
                    : (origin.y + row) * elements_per_row + origin.x + column;
}
}  // namespace detail

template <class T, class U>
MSL_FN inline void simdgroup_load(simdgroup_matrix<T, 8, 8>& matrix, const U* source, ulong elements_per_row = 8,
                                  ulong2 origin = 0, bool transposed = false,
                                  detail::Site site = detail::Site::current()) {
  static_assert(is_same_v<T, U>, "simdgroup_load does not convert");
  detail::check_uniform(source, elements_per_row, origin, transposed, MSL_OP_MATRIX_LOAD, site);
  for (int i = 0; i < 2; i++)
    matrix.elements[i] = source[detail::matrix_offset(i, elements_per_row, origin, transposed)];
}

template <class T, class U>
MSL_FN inline void simdgroup_store(const simdgroup_matrix<T, 8, 8>& matrix, U* target, ulong elements_per_row = 8,
                                   ulong2 origin = 0, bool transposed = false,
                                   detail::Site site = detail::Site::current()) {
  static_assert(is_same_v<T, U>, "simdgroup_store does not convert");
  detail::check_uniform(target, elements_per_row, origin, transposed, MSL_OP_MATRIX_STORE, site);
  for (int i = 0; i < 2; i++)
    target[detail::matrix_offset(i, elements_per_row, origin, transposed)] = matrix.elements[i];
}

// d = a * b + c, accumulated in float.
template <class D, class A, class B, class C>
MSL_FN inline void simdgroup_multiply_accumulate(simdgroup_matrix<D, 8, 8>& d, const simdgroup_matrix<A, 8, 8>& a,
                                                 const simdgroup_matrix<B, 8, 8>& b, const simdgroup_matrix<C, 8, 8>& c,
                                                 detail::Site site = detail::Site::current()) {
  float2 sum(float(c.elements[0]), float(c.elements[1]));
  detail::multiply_accumulate(sum, a.elements, b.elements, site);
  d.elements = vec<D, 2>(D(sum.x), D(sum.y));
}

template <class D, class A, class B>
MSL_FN inline void simdgroup_multiply(simdgroup_matrix<D, 8, 8>& d, const simdgroup_matrix<A, 8, 8>& a,
                                      const simdgroup_matrix<B, 8, 8>& b, detail::Site site = detail::Site::current()) {
  simdgroup_multiply_accumulate(d, a, b, make_filled_simdgroup_matrix<float, 8, 8>(0.0f), site);
}

template <class T>
MSL_FN inline simdgroup_matrix<T, 8, 8> operator*(const simdgroup_matrix<T, 8, 8>& a,
                                                  const simdgroup_matrix<T, 8, 8>& b) {
  simdgroup_matrix<T, 8, 8> d;
  simdgroup_multiply(d, a, b);
  return d;
}
}  // namespace metal
