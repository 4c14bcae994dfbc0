#include "metal_cuda.h"
namespace mtl {
using namespace metal;
template <typename T>
__device__ inline T first(const  T* p) {
  return p[0];
}
static  constexpr int four = 4;
__device__ float last(const float* p,  float* q,  float& r) { return p[four] + q[0] + r; }
struct Row {
   float* data;
  int length;
  __device__ Row( float* pointer, int n) : data(pointer), length{n} {}
  __device__ float operator[](int i) const  { return data[i]; }
  template <typename T>
  __device__ T get(int i, T scale) {
    return T(data[i]) * scale;
  }
  __device__ int get(int i, int scale) {
    return length * scale;
  }
};
}  // namespace mtl
