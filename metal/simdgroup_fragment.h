// 8x8 matrices held by a SIMD-group, "fragments": each lane holds two elements that are neighbours in a row,
// in the layout of Apple GPUs' simdgroup_matrix, so that the elements have known rows and columns.
//
//          columns  0 1    2 3    4 5    6 7
//     row 0        L0     L1     L8     L9
//     row 1        L2     L3     L10    L11
//     row 2        L4     L5     L12    L13
//     row 3        L6     L7     L14    L15
//     row 4..7     the same plus 16
#pragma once

#include <metal_stdlib>

using namespace metal;

constant constexpr int FRAGMENT_SIZE = 8;

// Where a lane's elements lie: (row, column) and (row, column + 1).
struct FragmentPosition {
  int row;
  int column;
};

inline FragmentPosition fragment_position(uint lane) {
  return {int(((lane & 16) >> 2) | ((lane >> 1) & 3)), int(((lane & 8) >> 1) | ((lane & 1) << 1))};
}

// The lane that holds an element.
inline ushort fragment_lane(int row, int column) {
  return ushort(((row & 4) << 2) | ((column & 4) << 1) | ((row & 3) << 1) | ((column & 2) >> 1));
}

// Over the four lanes that hold a row of the fragment.
inline float row_maximum(float x) {
  x = max(x, simd_shuffle_xor(x, 1));
  return max(x, simd_shuffle_xor(x, 8));
}

inline float row_sum(float x) {
  x += simd_shuffle_xor(x, 1);
  return x + simd_shuffle_xor(x, 8);
}

template <typename T>
inline simdgroup_matrix<T, FRAGMENT_SIZE, FRAGMENT_SIZE> as_matrix(vec<T, 2> elements) {
  simdgroup_matrix<T, FRAGMENT_SIZE, FRAGMENT_SIZE> matrix;
  matrix.thread_elements()[0] = elements.x;
  matrix.thread_elements()[1] = elements.y;
  return matrix;
}

// a b + c, as matrices. The operands may be of 16 bits; products and sums are float32.
template <typename A, typename B>
inline float2 multiply_accumulate(vec<A, 2> a, vec<B, 2> b, float2 c) {
  simdgroup_float8x8 result;
  simdgroup_multiply_accumulate(result, as_matrix<A>(a), as_matrix<B>(b), as_matrix<float>(c));
  return float2(result.thread_elements()[0], result.thread_elements()[1]);
}
