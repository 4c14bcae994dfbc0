// What the machine can do at most, for the benchmark to compare with.
#include <cstring>

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/simd.h"
#include "cpu/kernels/tiles.h"

namespace fusedops::cpu::FUSEDOPS_ISA {
namespace {

constexpr int kChains = 10;  // more than latency x throughput of any current core

// Returns the operations done by `iterations` steps of kChains independent sums.
template <class Step>
double run_chains(int64_t iterations, int operations_per_lane, Step&& step) {
  Vec sums[kChains];
#pragma GCC unroll 10
  for (int c = 0; c < kChains; ++c) sums[c] = splat(0.1f * c);
  for (int64_t i = 0; i < iterations; ++i)
#pragma GCC unroll 10
    for (int c = 0; c < kChains; ++c) sums[c] = step(sums[c]);
  Vec total{};
#pragma GCC unroll 10
  for (int c = 0; c < kChains; ++c) total += sums[c];
  [[maybe_unused]] volatile float used = sum_lanes(total);  // or the compiler would leave out the work
  return static_cast<double>(operations_per_lane) * kLanes * kChains * static_cast<double>(iterations);
}

}  // namespace

double multiply_add(int64_t iterations) {
  const Vec factor = splat(0.9999f), term = splat(1e-5f);
  return run_chains(iterations, 2, [&](Vec sum) { return sum * factor + term; });
}

double multiply_add_bfloat16([[maybe_unused]] int64_t iterations) {
#if defined(__AMX_BF16__)
  const Tiles tiles;
  for (int64_t i = 0; i < iterations; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  return 4. * (2 * 16 * 16 * 32) * static_cast<double>(iterations);
#elif defined(__AVX512BF16__)
  const auto factor = (__m512bh)splat(0.9999f), term = (__m512bh)splat(1e-5f);
  return run_chains(iterations, 4, [&](Vec sum) { return (Vec)_mm512_dpbf16_ps((__m512)sum, factor, term); });
#else
  return 0;
#endif
}

void copy(const float* source, float* target, int64_t count) {
  for (int64_t i = 0; i < count; i += kLanes) store(target + i, load(source + i));
}

void copy_past_caches(const float* source, float* target, int64_t count) {
#if defined(__AVX512F__)
  for (int64_t i = 0; i < count; i += kLanes) _mm512_stream_ps(target + i, (__m512)load(source + i));
  _mm_sfence();
#elif defined(__AVX2__)
  for (int64_t i = 0; i < count; i += kLanes) _mm256_stream_ps(target + i, (__m256)load(source + i));
  _mm_sfence();
#else
  std::memcpy(target, source, count * sizeof(float));
#endif
}

// Several places at once: a core has more lines on their way from memory where it follows more streams.
float read(const float* source, int64_t count) {
  constexpr int streams = 4, vectors = 2;
  const int64_t stride = count / streams;
  Vec sums[streams][vectors] = {};
  for (int64_t i = 0; i < stride; i += vectors * kLanes)
#pragma GCC unroll 4
    for (int s = 0; s < streams; ++s)
#pragma GCC unroll 2
      for (int v = 0; v < vectors; ++v) sums[s][v] += load(source + s * stride + i + v * kLanes);
  Vec total{};
  for (const auto& stream : sums)
    for (const Vec& sum : stream) total += sum;
  return sum_lanes(total);
}

}  // namespace fusedops::cpu::FUSEDOPS_ISA
