// GELU by table: where a permutation of registers can look up 32 coefficients, gate(-a) is a polynomial for each of 32
// intervals of a, at about half the cost of its formula.
#pragma once

#include "cpu/kernels/gelu_forms.h"

#if defined(__AVX512F__)
#include <cmath>
#include <numbers>
#endif

namespace fusedops::cpu::FUSEDOPS_ISA {

#if defined(__AVX512F__)

// Interpolates gate(-a) at the Chebyshev nodes of each interval. The intervals are centred on the multiples of `width`,
// the polynomials' variable is the distance from the centre in widths.
template <GeluForm form, Accuracy accuracy>
class GateTable {
 public:
  static constexpr int degree = accuracy == Accuracy::full ? 5 : 3;
  static constexpr int intervals = 32;
  // Intervals in a unit of a, a number that multiplies without error; and where the table ends: there gate(-a) is below
  // half a unit in the last place of 1.
  static constexpr float density = form == GeluForm::none ? 5.75f : form == GeluForm::tanh ? 6.f : 3.f;
  static constexpr float end = (intervals - 0.75f) / density;

  static const GateTable& get() {
    static const GateTable table;
    return table;
  }

  alignas(64) float coefficients[degree + 1][intervals];  // by power

 private:
  GateTable() {
    for (int i = 0; i < intervals; ++i) {
      double polynomial[degree + 1];
      interpolate(i, polynomial);
      for (int power = 0; power <= degree; ++power) coefficients[power][i] = static_cast<float>(polynomial[power]);
    }
  }

  static double gate_of_minus(double a) {
    if constexpr (form == GeluForm::none) {
      return 0.5 * std::erfc(a / std::numbers::sqrt2);
    } else {
      constexpr double linear = SigmoidArgument<form>::linear, cubic = SigmoidArgument<form>::cubic;
      return 1 / (1 + std::exp(a * (linear + cubic * a * a)));
    }
  }

  // Newton's divided differences, expanded into powers.
  static void interpolate(int interval, double* polynomial) {
    constexpr int count = degree + 1;
    double nodes[count], differences[count];
    for (int i = 0; i < count; ++i) {
      nodes[i] = 0.5 * std::cos((2 * i + 1) * std::numbers::pi / (2 * count));
      differences[i] = gate_of_minus((interval + nodes[i]) / density);
    }
    for (int order = 1; order < count; ++order)
      for (int i = count - 1; i >= order; --i)
        differences[i] = (differences[i] - differences[i - 1]) / (nodes[i] - nodes[i - order]);
    for (int i = 0; i < count; ++i) polynomial[i] = 0;
    for (int i = count - 1; i >= 0; --i) {  // polynomial = polynomial (x - nodes[i]) + differences[i]
      for (int power = count - 1; power > 0; --power)
        polynomial[power] = polynomial[power - 1] - nodes[i] * polynomial[power];
      polynomial[0] = differences[i] - nodes[i] * polynomial[0];
    }
  }
};

// gelu(x) for the vectors of a loop: by the table, and by the formula for x beyond its end, which are rare. To be made
// right before it, so that the table stays in registers.
template <GeluForm form, Accuracy accuracy>
class Gelu {
  using Table = GateTable<form, accuracy>;

 public:
  Gelu() {
    const Table& table = Table::get();
    for (int power = 0; power <= Table::degree; ++power)
      for (int half = 0; half < 2; ++half) rows_[power][half] = load(table.coefficients[power] + half * kLanes);
  }

  FUSEDOPS_MEMBER_INLINE Vec operator()(Vec x) const {
    const Vec by_table = of_lanes_within(x);
    const __mmask16 beyond = _mm512_cmp_ps_mask((__m512)x, (__m512)splat(-Table::end), _CMP_LT_OQ);
    if (__builtin_expect(beyond == 0, 1)) return by_table;
    return (Vec)_mm512_mask_mov_ps((__m512)by_table, beyond, (__m512)gelu_by_formula<form, accuracy>(x));
  }

 private:
  FUSEDOPS_MEMBER_INLINE Vec of_lanes_within(Vec x) const {
    const Vec a = min(splat(Table::end), abs(x));
    const Vec shifter =
        splat(12582912.f);  // adding 1.5 * 2^23 leaves the nearest integer in the low bits of the mantissa
    const Vec shifted = a * splat(Table::density) + shifter;
    const Vec position = multiply_subtract(a, splat(Table::density), shifted - shifter);
    Vec gate = coefficient(Table::degree, shifted);
#pragma GCC unroll 5
    for (int power = Table::degree - 1; power >= 0; --power)
      gate = (Vec)_mm512_fmadd_ps((__m512)gate, (__m512)position, (__m512)coefficient(power, shifted));
    return max(x, Vec{}) - a * gate;
  }

  // Of the interval that is in the lowest five bits of each lane.
  FUSEDOPS_MEMBER_INLINE Vec coefficient(int power, Vec interval) const {
    return (Vec)_mm512_permutex2var_ps((__m512)rows_[power][0], (__m512i)interval, (__m512)rows_[power][1]);
  }

  Vec rows_[Table::degree + 1][2];
};

#else

template <GeluForm form, Accuracy accuracy>
struct Gelu {
  FUSEDOPS_MEMBER_INLINE Vec operator()(Vec x) const { return gelu_by_formula<form, accuracy>(x); }
};

#endif

}  // namespace fusedops::cpu::FUSEDOPS_ISA
