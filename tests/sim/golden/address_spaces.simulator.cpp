#include "metal_sim.h"
using namespace metal;
template <typename T>
inline T first(const  T* p) {
  return p[0];
}
static  constexpr int four = 4;
float last(const float* p,  float* q,  float& r) { return p[four] + q[0] + r; }
struct Row {
   float* data;
  int length;
  Row( float* pointer, int n) : data(pointer), length{n} {}
  float operator[](int i) const  { return data[i]; }
  template <typename T>
  T get(int i, T scale) {
    return T(data[i]) * scale;
  }
  int get(int i, int scale) {
    return length * scale;
  }
};
extern "C" void msl_register() {  }
