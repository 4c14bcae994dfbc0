// How threads share the columns of a row.
//
// A row is cut into tiles. The threads of a row handle a tile together, VECTORS_PER_THREAD times 16 bytes each and per
// array. `width` elements go in one access: as many as 16 bytes hold where rows lie in unit stride and at multiples of
// 16 bytes, else one, of any stride. Columns are dealt out so that neighbouring threads touch neighbouring addresses.
// The columns of four threads, by thread, in float32:
//
//   width 4   0000 1111 2222 3333 | 0000 1111 2222 3333
//   width 1   0123 | 0123 | 0123 | 0123 | 0123 | 0123 | 0123 | 0123
#pragma once

#include <metal_stdlib>

#include "operand.h"
#include "row_layout.h"

using namespace metal;

template <typename T>
constexpr int elements_per_vector() {
  return VECTOR_BYTES / sizeof(T);
}

template <typename T>
constexpr int elements_per_thread() {
  return VECTORS_PER_THREAD * elements_per_vector<T>();
}

// A thread's part of a tile.
struct TilePart {
  uint index;    // of the thread among the row's
  uint threads;  // of the row
  uint columns;  // of the row that lie in the tile
};

// The column where the access begins that brings a thread its elements from `element` on.
inline uint column_of(TilePart part, uint element, uint width) { return element * part.threads + part.index * width; }

template <typename T>
inline uint tile_columns(uint threads) {
  return threads * elements_per_thread<T>();
}

// Columns of a tile that starts where `remaining` columns of the row are left; none where the row has ended.
template <typename T>
inline uint columns_in_tile(long remaining, uint threads) {
  return uint(min(max(remaining, 0l), long(tile_columns<T>(threads))));
}

// Of numbers that are not negative. Division of 64-bit numbers is slow on GPUs, and seldom needed.
inline long quotient(long dividend, long divisor) {
  if (dividend < divisor) return 0;
  if (((dividend | divisor) >> 32) == 0) return long(uint(dividend) / uint(divisor));
  return dividend / divisor;
}

// Where a row starts, in elements. The outermost dimension needs no division.
inline long row_offset(constant RowLayout& layout, long row) {
  long offset = 0;
  for (int i = 0; i < layout.dimensions - 1; ++i) {
    const long outer = quotient(row, layout.extents[i]);
    offset += (row - outer * layout.extents[i]) * layout.strides[i];
    row = outer;
  }
  return layout.dimensions == 0 ? 0 : offset + row * layout.strides[layout.dimensions - 1];
}

// Spares arithmetic where the plan has made sure that the stride is 1.
template <int width>
inline long known_stride(long stride) {
  return width == 1 ? stride : 1;
}

// A thread's elements of a tile, as they lie in memory. They stay so until they are computed with: no load waits for an
// earlier one, and 16-bit elements take half the registers. Of another array there may be wider elements in the columns
// of a tile of T.
template <typename T, typename Element = T>
struct TileBits {
  uint4 vectors[VECTORS_PER_THREAD * sizeof(Element) / sizeof(T)];
};

// Four elements of type T, as floats or as they are.
template <typename T, typename Value>
inline void unpack(vec<T, 4> four, thread Value* values) {
  for (int i = 0; i < 4; ++i) values[i] = Value(four[i]);
}

template <typename T, typename Value>
inline vec<T, 4> pack(thread const Value* values) {
  return vec<T, 4>(T(values[0]), T(values[1]), T(values[2]), T(values[3]));
}

// The elements of a vector. A vec has four at most.
template <typename T, typename Value>
inline void unpack_vector(uint4 bits, thread Value* values) {
  if constexpr (sizeof(T) == 2) {
    unpack<T>(as_type<vec<T, 4>>(bits.xy), values);
    unpack<T>(as_type<vec<T, 4>>(bits.zw), values + 4);
  } else {
    unpack<T>(as_type<vec<T, 4>>(bits), values);
  }
}

template <typename T, typename Value>
inline uint4 pack_vector(thread const Value* values) {
  if constexpr (sizeof(T) == 2)
    return uint4(as_type<uint2>(pack<T>(values)), as_type<uint2>(pack<T>(values + 4)));
  else
    return as_type<uint4>(pack<T>(values));
}

template <typename T, typename Element>
inline void unpack_tile(TileBits<T, Element> bits, thread float* values) {
  constexpr int elements = elements_per_vector<Element>();
  for (int i = 0; i < elements_per_thread<T>() / elements; ++i)
    unpack_vector<Element>(bits.vectors[i], values + i * elements);
}

// Rounds to the elements' type.
template <typename T, typename Element = T>
inline TileBits<T, Element> pack_tile(thread const float* values) {
  constexpr int elements = elements_per_vector<Element>();
  TileBits<T, Element> bits;
  for (int i = 0; i < elements_per_thread<T>() / elements; ++i)
    bits.vectors[i] = pack_vector<Element>(values + i * elements);
  return bits;
}

// Whether all of a thread's elements lie within the row.
template <typename T>
inline bool is_full(TilePart part) {
  constexpr uint width = elements_per_vector<T>();
  return column_of(part, elements_per_thread<T>() - width, width) + width <= part.columns;
}

// The column of one of a thread's elements, of which `width` go in one access.
template <int width>
inline uint element_column(TilePart part, uint element) {
  return column_of(part, element / width * width, width) + element % width;
}

// One vector's elements, one by one; zeros in place of those beyond the row's end.
template <int width, typename Element>
inline uint4 gather(device const Element* tile, long stride, TilePart part, uint first_element) {
  Element values[elements_per_vector<Element>()];
  for (uint i = 0; i < uint(elements_per_vector<Element>()); ++i) {
    const uint column = element_column<width>(part, first_element + i);
    values[i] = column < part.columns ? tile[long(column) * stride] : Element(0.0f);
  }
  return pack_vector<Element>(values);
}

template <int width, typename Element>
inline void scatter(device Element* tile, TilePart part, uint first_element, uint4 bits) {
  Element values[elements_per_vector<Element>()];
  unpack_vector<Element>(bits, values);
  for (uint i = 0; i < uint(elements_per_vector<Element>()); ++i) {
    const uint column = element_column<width>(part, first_element + i);
    if (column < part.columns) tile[column] = values[i];
  }
}

// A thread's elements in the columns of a tile of T, of T's size or wider; zeros in place of those beyond the row's
// end. The stride is 1 where width is not.
template <int width, typename T, typename Element>
inline TileBits<T, Element> load_elements(device const Element* tile, long stride, TilePart part) {
  constexpr uint elements = elements_per_vector<Element>();
  constexpr uint vectors = elements_per_thread<T>() / elements;
  TileBits<T, Element> bits;
  if (width == elements_per_vector<T>() && is_full<T>(part)) {
    for (uint i = 0; i < vectors; ++i)
      bits.vectors[i] = *(device const uint4*)(tile + element_column<width>(part, i * elements));
  } else {
    for (uint i = 0; i < vectors; ++i)
      bits.vectors[i] = gather<width>(tile, known_stride<width>(stride), part, i * elements);
  }
  return bits;
}

template <int width, typename T>
inline TileBits<T> load_tile(device const T* tile, long stride, TilePart part) {
  return load_elements<width, T>(tile, stride, part);
}

// The target's columns are contiguous.
template <int width, typename T, typename Element>
inline void store_tile(device Element* tile, TilePart part, TileBits<T, Element> bits) {
  constexpr uint elements = elements_per_vector<Element>();
  constexpr uint vectors = elements_per_thread<T>() / elements;
  if (width == elements_per_vector<T>() && is_full<T>(part)) {
    for (uint i = 0; i < vectors; ++i)
      *(device uint4*)(tile + element_column<width>(part, i * elements)) = bits.vectors[i];
  } else {
    for (uint i = 0; i < vectors; ++i) scatter<width>(tile, part, i * elements, bits.vectors[i]);
  }
}

// The elements of another array in the columns of a tile of T, as floats; zeros beyond the row's end.
template <int width, typename T, typename Operand>
inline void load_values(device const Operand* tile, long stride, TilePart part, thread float* values) {
  if constexpr (sizeof(Operand) == sizeof(T)) {
    unpack_tile(load_tile<width>(tile, stride, part), values);
  } else {
    for (uint element = 0; element < uint(elements_per_thread<T>()); element += width) {
      const uint column = column_of(part, element, width);
      if (width > 1 && column + width <= part.columns) {
        for (uint i = 0; i < width; i += 4)
          unpack<Operand>(*(device const vec<Operand, 4>*)(tile + column + i), values + element + i);
      } else {
        for (uint i = 0; i < width; ++i)
          values[element + i] = column + i < part.columns ? float(tile[long(column + i) * stride]) : 0.0f;
      }
    }
  }
}

// The same for an operand whose type is known at run time and the same for all threads, from the row's column `start`.
template <int width, typename T>
inline void load_operand_values(device const uchar* operand, int type, long start, long stride, TilePart part,
                                thread float* values) {
  const long first = start * known_stride<width>(stride);
  switch (type) {
    case OPERAND_FLOAT:
      return load_values<width, T>((device const float*)operand + first, known_stride<width>(stride), part, values);
    case OPERAND_HALF:
      return load_values<width, T>((device const half*)operand + first, known_stride<width>(stride), part, values);
    case OPERAND_BFLOAT:
      return load_values<width, T>((device const bfloat*)operand + first, known_stride<width>(stride), part, values);
  }
}
