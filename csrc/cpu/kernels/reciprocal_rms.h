// 1 / rms of a row, also where float32 does not hold its squares: those are then taken of the row times a power of two.
// So do the BLAS with Euclidean norms: Blue 1978, https://doi.org/10.1145/355769.355771
#pragma once

#include "cpu/kernels/simd.h"

namespace fusedops::cpu::FUSEDOPS_ISA {

// The sum of term(i, lanes) over a row; sums of blocks, added up, keep the chains of rounding errors short.
template <class Term>
FUSEDOPS_INLINE float sum_of_terms(int64_t count, Term&& term) {
  constexpr int64_t block = 1024;
  float total = 0.f;
  for (int64_t first = 0; first < count; first += block) {
    Vec sum{};
    const auto add = [&](int64_t i, auto lanes) { sum += term(first + i, lanes); };
    for_each_vector(count - first < block ? count - first : block, add);
    total += sum_lanes(sum);
  }
  return total;
}

// factor * power is 1 / rms; `power` is 1 but for those so large or small that a weight times them may overflow.
struct ReciprocalRms {
  float factor;
  float power = 1.f;
  bool is_rescaled =
      false;  // products of x and numbers of ordinary size are then no more to be trusted than its squares

  // `squares` is the sum of the squares of x, as far as float32 holds it. What is infinite or NaN stays so.
  template <class T>
  ReciprocalRms(float squares, const T* x, int64_t count, float eps) : factor(reciprocal_root(squares, count, eps)) {
    const bool overflows = squares == __builtin_inff();
    // Below, what squares lose where they are subnormal is more than a rounding error.
    const bool underflows = squares < 0x1p-100f * static_cast<float>(count) && eps < 0x1p-100f;
    is_rescaled = overflows || underflows;
    if (__builtin_expect(is_rescaled, 0)) rescale(overflows ? 0x1p-96f : 0x1p96f, x, count, eps);
  }

  float value() const { return factor * power; }
  FUSEDOPS_MEMBER_INLINE Vec times(Vec x) const { return x * splat(factor) * splat(power); }

 private:
  static float reciprocal_root(float squares, int64_t count, float eps) {
    const float mean_square = count ? squares / static_cast<float>(count) : 0.f;
    return 1.f / __builtin_sqrtf(mean_square + eps);
  }

  template <class T>
  void rescale(float scale, const T* x, int64_t count, float eps) {
    const float squares = sum_of_terms(count, [&](int64_t i, auto lanes) {
      const Vec v = load(x + i, lanes) * splat(scale);
      return v * v;
    });
    factor = reciprocal_root(squares, count, eps * scale * scale);
    const float product = factor * scale;
    if (product >= 0x1p-64f && product <= 0x1p64f)
      factor = product;
    else
      power = scale;
  }
};

}  // namespace fusedops::cpu::FUSEDOPS_ISA
