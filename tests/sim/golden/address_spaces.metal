#include <metal_stdlib>
using namespace metal;

template <typename T>
inline T first(const device T* p) {
  return p[0];
}
template <typename T>
inline T first(const threadgroup T* p) {
  return p[0];
}
static constant constexpr int four = 4;
float last(constant float* p, coherent(device) float* q, thread float& r) { return p[four] + q[0] + r; }
struct Row {
  device float* data;
  int length;
  Row(device float* pointer, int n) : data(pointer), length{n} {}
  float operator[](int i) const device { return data[i]; }
  float operator[](int i) const thread { return data[i]; }
  template <typename T>
  T get(int i, T scale) {
    return T(data[i]) * scale;
  }
  template <>
  int get(int i, int scale) {
    return length * scale;
  }
};
