#include "cpu/limits.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include "cpu/kernels/kernels.h"

namespace fusedops::cpu {
namespace {

// Seconds of the fastest of several passes of body(thread), run by `threads` threads at once.
template <class Body>
double best_seconds(int threads, Body body) {
  constexpr int passes = 7;
  double best = 1e300;
  for (int pass = 0; pass < passes; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::thread> others;
    for (int t = 1; t < threads; ++t) others.emplace_back(body, t);
    body(0);
    for (auto& other : others) other.join();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

}  // namespace

double copy_bandwidth(int64_t bytes, int threads) {
  constexpr int64_t block = 16;  // floats; a multiple of every vector's length
  const int64_t share = std::max<int64_t>(1, bytes / 4 / block / threads) * block;
  std::vector<float> source(share * threads, 1.f), target(share * threads, 0.f);
  // Small arrays are copied often enough that a pass outlasts the start of its threads.
  const int64_t repeats = std::max<int64_t>(1, (int64_t{1} << 26) / (share * threads * 4));
  const double seconds = best_seconds(threads, [&](int t) {
    for (int64_t i = 0; i < repeats; ++i) kernels().copy(&source[t * share], &target[t * share], share);
  });
  return 2.0 * 4 * static_cast<double>(share * threads * repeats) / seconds * 1e-9;
}

double fma_rate(int threads) {
  constexpr int64_t iterations = 2'000'000;
  double operations = 0;
  const double seconds = best_seconds(threads, [&](int t) {
    const double done = kernels().multiply_add(iterations);
    if (t == 0) operations = done;
  });
  return operations * threads / seconds * 1e-9;
}

}  // namespace fusedops::cpu
