// Neighbouring elements that are moved at once, at most 16 bytes.
#pragma once

#include <metal_stdlib>

using namespace metal;

template <typename T, int COUNT>
struct alignas(COUNT * sizeof(T)) Vector {
  T elements[COUNT];
};

template <typename T>
constexpr int chunk_size() {
  return 16 / sizeof(T);
}

template <typename T>
using Chunk = Vector<T, chunk_size<T>()>;
