#include "metal_opencl.h"
using namespace metal;
namespace ops {
template <typename T, int N>
 void scale(__global T* x , uint i ) {
  x[i] *= T(N);
}
}
template <typename T>
 void negate(__global T* x , uint i ) {
  x[i] = -x[i];
}
template    decltype(ops::scale<half, 4>) ops::scale<half, 4>;
template    decltype(ops::scale<float, 4>) ops::scale<float, 4>;
template   void negate<int>(__global int* x , uint i );
template   void negate(__global uint* x , uint i );
