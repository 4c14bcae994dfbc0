// What simdgroup_matrix.h needs of CUDA: products of 8x8 matrices on tensor cores.
//
// Tensor cores hold 8x8 matrices as Apple GPUs do, as the lanes are numbered here (barriers.h), but take b by columns
// (PTX ISA, "Matrix Fragments for mma.m16n8k8" and "movmatrix"). An mma has 16 rows, of which the lower 8 are zero
// here.
#pragma once

namespace metal {
namespace detail {
MSL_FN constexpr uint matrix_row(uint lane);
MSL_FN constexpr uint matrix_column(uint lane);
MSL_FN constexpr uint matrix_lane(uint row, uint column);

template <class T>
MSL_FN inline void check_uniform(const T*, ulong, ulong2, bool, MslOp, Site) {}

// --- 16 bits

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

// The caller's row of the transposed matrix.
template <class T>
  requires is_one_of<T, half, bfloat>
MSL_FN inline vec<T, 2> transposed(const vec<T, 2>& b) {
  uint column = 0;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(column) : "r"(as_type<uint>(b)));
  return as_type<vec<T, 2>>(column);
}

// sum += the caller's two elements of a * b.
template <class T>
  requires is_one_of<T, half, bfloat>
MSL_FN inline void multiply_accumulate(float2& sum, const vec<T, 2>& a, const vec<T, 2>& b, Site) {
  tensor_multiply_accumulate(sum, as_type<uint>(a), as_type<uint>(transposed(b)), T());
}

// --- float

// Tensor cores read the 11 leading bits of a float's significand ("tf32"). A float is the sum of two of those, but for
// an error of 2^-22, and a product is the sum of three: leading * leading + rest * leading + leading * rest ("3xTF32").
// So that infinity * 0 does not come in, where infinity * 1 was meant, the latter two leave infinities out.
struct Parts {
  float leading, rest, finite;
  MSL_FN explicit Parts(float x) {
    const float rounded = as_type<float>((as_type<uint>(x) + 0x1000) & 0xffffe000);
    const bool is_finite = metal::fabs(rounded) < as_type<float>(0x7f800000u);
    leading = is_finite ? rounded : x;
    finite = is_finite ? rounded : 0;
    rest = x == leading ? 0 : x - leading;  // NaN of NaN, 0 of infinity
  }
  template <class T>
    requires is_one_of<T, half, bfloat>
  MSL_FN explicit Parts(T x) : leading(float(x)), rest(0), finite(metal::isfinite(leading) ? leading : 0) {}
};

// An element's place in the sum over k is free as long as it is the same for a and b: the tensor core's k and k + 4 are
// 2k and 2k + 1 here, which a lane holds as a pair.
MSL_FN inline void tensor_multiply_accumulate(float2& sum, float2 a, float2 b) {
  float below[2] = {};
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum.x), "+f"(sum.y), "+f"(below[0]), "+f"(below[1])
      : "r"(as_type<uint>(a.x)), "r"(0), "r"(as_type<uint>(a.y)), "r"(0), "r"(as_type<uint>(b.x)),
        "r"(as_type<uint>(b.y)));
}

// Each lane offers one element of its pair at a time: lanes of even rows the left one first, lanes of odd rows the
// right one first. What a lane wants lies in two lanes, both left or both right in their pairs.
MSL_FN inline float2 transposed(float2 b) {
  const uint lane = msl_rt_lane(), row = matrix_column(lane), column = matrix_row(lane), is_right = column & 1;
  const bool offers_right_first = matrix_row(lane) & 1;
  const float first = shuffle(offers_right_first ? b.y : b.x, matrix_lane(row + is_right, column));
  const float second = shuffle(offers_right_first ? b.x : b.y, matrix_lane(row + 1 - is_right, column));
  return is_right ? float2(second, first) : float2(first, second);
}

template <class A, class B>
MSL_FN inline void multiply_accumulate(float2& sum, const vec<A, 2>& a, const vec<B, 2>& b, Site) {
  const auto column = transposed(b);
  const Parts a_parts[2] = {Parts(a.x), Parts(a.y)};
  const Parts b_parts[2] = {Parts(column.x), Parts(column.y)};
  const float2 b_finite(b_parts[0].finite, b_parts[1].finite);
  // Tensor cores truncate sums, which is seen in results of 32 bits.
  constexpr bool rounds_sum = is_same_v<A, float> && is_same_v<B, float>;
  float2 product = rounds_sum ? float2(0) : sum;
  if constexpr (is_same_v<A, float>)
    tensor_multiply_accumulate(product, float2(a_parts[0].rest, a_parts[1].rest), b_finite);
  if constexpr (is_same_v<B, float>)
    tensor_multiply_accumulate(product, float2(a_parts[0].finite, a_parts[1].finite),
                               float2(b_parts[0].rest, b_parts[1].rest));
  tensor_multiply_accumulate(product, float2(a_parts[0].leading, a_parts[1].leading),
                             float2(b_parts[0].leading, b_parts[1].leading));
  sum = rounds_sum ? sum + product : product;
}
}  // namespace detail
}  // namespace metal
