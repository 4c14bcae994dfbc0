// What simdgroup_matrix.h needs of CUDA.
//
// Matrices keep Apple's layout. Tensor cores hold 8x8 matrices as pairs too, but spread the pairs over the lanes in
// another order, and take b by columns (PTX ISA, "Matrix Fragments for mma.m16n8k8" and "movmatrix"). 16-bit products
// shuffle into that order, other products gather what they need.
#pragma once

namespace metal {
namespace detail {
MSL_FN constexpr uint matrix_row(uint lane);
MSL_FN constexpr uint matrix_column(uint lane);
MSL_FN constexpr uint matrix_lane(uint row, uint column);

template <class T>
MSL_FN inline void check_uniform(const T*, ulong, ulong2, bool, MslOp, Site) {}

// sum += the caller's two elements of a * b.
template <class A, class B>
MSL_FN inline void multiply_accumulate(float2& sum, const vec<A, 2>& a, const vec<B, 2>& b, Site) {
  const uint row = matrix_row(msl_rt_lane()), column = matrix_column(msl_rt_lane());
#pragma unroll
  for (uint k = 0; k < 8; k++) {
    const vec<A, 2> from_a = shuffle(a, matrix_lane(row, k));
    const vec<B, 2> from_b = shuffle(b, matrix_lane(k, column));
    sum.x += float(from_a[k & 1]) * float(from_b[0]);
    sum.y += float(from_a[k & 1]) * float(from_b[1]);
  }
}

MSL_FN inline void tensor_multiply_accumulate(float2& sum, uint a, uint b, half) {
  float below[2] = {};  // rows 8 to 15, which are zero
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+f"(sum.x), "+f"(sum.y), "+f"(below[0]), "+f"(below[1])
               : "r"(a), "r"(0), "r"(b));
}
MSL_FN inline void tensor_multiply_accumulate(float2& sum, uint a, uint b, bfloat) {
  float below[2] = {};
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+f"(sum.x), "+f"(sum.y), "+f"(below[0]), "+f"(below[1])
               : "r"(a), "r"(0), "r"(b));
}

template <class T>
  requires is_one_of<T, half, bfloat>
MSL_FN inline void multiply_accumulate(float2& sum, const vec<T, 2>& a, const vec<T, 2>& b, Site) {
  const uint lane = msl_rt_lane();
  const uint apple_lane = matrix_lane(lane / 4, lane % 4 * 2);  // which holds what the tensor core wants here,
  const uint tensor_lane = matrix_row(lane) * 4 + matrix_column(lane) / 2;  // and the way back
  uint columns_of_b = 0;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;"
               : "=r"(columns_of_b)
               : "r"(as_type<uint>(shuffle(b, apple_lane))));
  float2 there = shuffle(sum, apple_lane);
  tensor_multiply_accumulate(there, as_type<uint>(shuffle(a, apple_lane)), columns_of_b, T());
  sum = shuffle(there, tensor_lane);
}
}  // namespace detail
}  // namespace metal
