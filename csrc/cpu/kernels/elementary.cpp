// The functions of math.h on arrays: for their tests.
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/math.h"

namespace fusedops::cpu::FUSEDOPS_ISA {
namespace {

template <class Function>
void apply(const float* x, float* y, int64_t count, Function&& function) {
  for_each_vector(count, [&](int64_t i, auto lanes) { store(y + i, function(load(x + i, lanes)), lanes); });
}

}  // namespace

void exp(const float* x, float* y, int64_t count) {
  apply(x, y, count, [](Vec v) { return exp(v); });
}

void exp2(const float* x, float* y, int64_t count) {
  apply(x, y, count, [](Vec v) { return exp2(v); });
}

void tanh(const float* x, float* y, int64_t count) {
  apply(x, y, count, [](Vec v) { return tanh(v); });
}

}  // namespace fusedops::cpu::FUSEDOPS_ISA
