// What simdgroup_matrix.h needs of CUDA: products of 8x8 matrices on tensor cores.
//
// Matrices keep Apple's layout. Tensor cores hold 8x8 matrices as pairs too, but spread the pairs over the lanes in
// another order, and take b by columns (PTX ISA, "Matrix Fragments for mma.m16n8k8" and "movmatrix"). So a and b are
// shuffled into that order, and the product, which starts from zero, back: that is cheaper than to shuffle the sum
// there and back. An mma has 16 rows, of which the lower 8 are zero here.
#pragma once

namespace metal {
namespace detail {
MSL_FN constexpr uint matrix_row(uint lane);
MSL_FN constexpr uint matrix_column(uint lane);
MSL_FN constexpr uint matrix_lane(uint row, uint column);

template <class T>
MSL_FN inline void check_uniform(const T*, ulong, ulong2, bool, MslOp, Site) {}

// The tensor core's lane l holds row l / 4 and columns 2 (l % 4) and the next: where Apple's layout has those,
MSL_FN inline uint apple_lane() { return matrix_lane(msl_rt_lane() / 4, msl_rt_lane() % 4 * 2); }
// and the way back.
MSL_FN inline uint tensor_lane() { return matrix_row(msl_rt_lane()) * 4 + matrix_column(msl_rt_lane()) / 2; }

struct Product {  // the caller's elements of the upper 8 rows, in the tensor core's order
  float2 upper = 0, lower = 0;
  MSL_FN void add_to(float2& sum) const { sum += shuffle(upper, tensor_lane()); }
};

// --- 16 bits

MSL_FN inline void multiply(Product& product, uint a, uint b, half) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+f"(product.upper.x), "+f"(product.upper.y), "+f"(product.lower.x), "+f"(product.lower.y)
               : "r"(a), "r"(0), "r"(b));
}
MSL_FN inline void multiply(Product& product, uint a, uint b, bfloat) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+f"(product.upper.x), "+f"(product.upper.y), "+f"(product.lower.x), "+f"(product.lower.y)
               : "r"(a), "r"(0), "r"(b));
}

// sum += the caller's two elements of a * b.
template <class T>
  requires is_one_of<T, half, bfloat>
MSL_FN inline void multiply_accumulate(float2& sum, const vec<T, 2>& a, const vec<T, 2>& b, Site) {
  uint columns_of_b = 0;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;"
               : "=r"(columns_of_b)
               : "r"(as_type<uint>(shuffle(b, apple_lane()))));
  Product product;
  multiply(product, as_type<uint>(shuffle(a, apple_lane())), columns_of_b, T());
  product.add_to(sum);
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
};

// An element's place in the sum over k is free as long as it is the same for a and b: the tensor core's k and k + 4 are
// 2k and 2k + 1 here, which a lane holds as a pair.
MSL_FN inline void multiply(Product& product, float2 a, float2 b) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(product.upper.x), "+f"(product.upper.y), "+f"(product.lower.x), "+f"(product.lower.y)
      : "r"(as_type<uint>(a.x)), "r"(0), "r"(as_type<uint>(a.y)), "r"(0), "r"(as_type<uint>(b.x)),
        "r"(as_type<uint>(b.y)));
}

// Of the caller's column, lane / 4, the elements of rows 2 (lane % 4) and the next. They lie in two lanes, both left or
// both right in their pairs. Each lane offers one element of its pair at a time: lanes of even rows the left one first,
// lanes of odd rows the right one first.
MSL_FN inline float2 pair_of_column(float2 b) {
  const uint lane = msl_rt_lane(), column = lane / 4, row = lane % 4 * 2, is_right = column & 1;
  const bool offers_right_first = matrix_row(lane) & 1;
  const float first = shuffle(offers_right_first ? b.y : b.x, matrix_lane(row + is_right, column));
  const float second = shuffle(offers_right_first ? b.x : b.y, matrix_lane(row + 1 - is_right, column));
  return is_right ? float2(second, first) : float2(first, second);
}

template <class A, class B>
MSL_FN inline void multiply_accumulate(float2& sum, const vec<A, 2>& a, const vec<B, 2>& b, Site) {
  const float2 row = shuffle(float2(float(a.x), float(a.y)), apple_lane());
  const float2 column = pair_of_column(float2(float(b.x), float(b.y)));
  const Parts a_parts[2] = {Parts(row.x), Parts(row.y)}, b_parts[2] = {Parts(column.x), Parts(column.y)};
  const float2 b_finite(b_parts[0].finite, b_parts[1].finite);
  Product product;
  multiply(product, float2(a_parts[0].rest, a_parts[1].rest), b_finite);
  multiply(product, float2(a_parts[0].finite, a_parts[1].finite), float2(b_parts[0].rest, b_parts[1].rest));
  multiply(product, float2(a_parts[0].leading, a_parts[1].leading), float2(b_parts[0].leading, b_parts[1].leading));
  product.add_to(sum);
}
}  // namespace detail
}  // namespace metal
