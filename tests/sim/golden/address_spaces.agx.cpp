#include "metal_agx.h"
using namespace metal;
template <typename T>
inline T first(const __global T* p) {
  return p[0];
}
template <typename T>
inline T first(const __local T* p) {
  return p[0];
}
static __constant constexpr int four = 4;
float last(__constant float* p, __global float* q, __private float& r) { return p[four] + q[0] + r; }
struct Row {
  __global float* data;
  int length;
  Row(__global float* pointer, int n) : data(pointer), length{n} {}
  float operator[](int i) const __global { return data[i]; }
  float operator[](int i) const __private { return data[i]; }
  template <typename T>
  T get(int i, T scale) {
    return T(data[i]) * scale;
  }
  int get(int i, int scale) {
    return length * scale;
  }
};
