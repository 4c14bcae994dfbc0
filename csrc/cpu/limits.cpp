#include "cpu/limits.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "core/errors.h"
#include "cpu/kernels/kernels.h"

namespace fusedops::cpu {
namespace {

// Threads that have ended when it does, however it ends.
struct JoinedThreads : std::vector<std::thread> {
  ~JoinedThreads() {
    for (std::thread& thread : *this) thread.join();
  }
};

void check_threads(int threads) {
  if (threads < 1) throw ValueError("threads must be at least 1, got " + std::to_string(threads));
}

// Seconds of the fastest of several passes of body(thread), run by `threads` threads at once.
template <class Body>
double best_seconds(int threads, Body body) {
  constexpr int passes = 7;
  double best = 1e300;
  for (int pass = 0; pass < passes; ++pass) {
    const auto start = std::chrono::steady_clock::now();
    {
      JoinedThreads others;
      for (int t = 1; t < threads; ++t) others.emplace_back(body, t);
      body(0);
    }
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

// Memory for threads that each have an equal share, whole numbers of KiB.
class Shares {
 public:
  Shares(int64_t bytes, int threads)
      : count_(std::max<int64_t>(1, bytes / 1024 / threads) * (1024 / 4)),
        threads_(threads),
        data_(static_cast<float*>(::operator new(count_ * threads * sizeof(float), kAlignment))) {
    std::fill_n(data_.get(), count_ * threads, 1.f);
  }

  float* of(int thread) const { return data_.get() + thread * count_; }
  int64_t count() const { return count_; }
  double bytes() const { return 4.0 * static_cast<double>(count_ * threads_); }
  // Small arrays are gone over often enough that a pass outlasts the start of its threads.
  int64_t repeats() const { return std::max<int64_t>(1, (int64_t{1} << 26) / (count_ * threads_ * 4)); }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Delete {
    void operator()(float* data) const { ::operator delete(data, kAlignment); }
  };

  int64_t count_;
  int threads_;
  std::unique_ptr<float, Delete> data_;
};

double copy_with(void (*copy)(const float*, float*, int64_t), const Shares& source, const Shares& target, int threads) {
  const double seconds = best_seconds(threads, [&](int t) {
    for (int64_t i = 0; i < source.repeats(); ++i) copy(source.of(t), target.of(t), source.count());
  });
  return 2 * source.bytes() * static_cast<double>(source.repeats()) / seconds * 1e-9;
}

double rate_of(double (*multiply_add)(int64_t), int threads) {
  constexpr int64_t iterations = 1'000'000;
  double operations = 0;
  const double seconds = best_seconds(threads, [&](int t) {
    const double done = multiply_add(iterations);
    if (t == 0) operations = done;
  });
  return operations * threads / seconds * 1e-9;
}

}  // namespace

double copy_bandwidth(int64_t bytes, int threads) {
  check_threads(threads);
  const Shares source(bytes, threads), target(bytes, threads);
  const auto by_library = [](const float* from, float* to, int64_t count) { std::memcpy(to, from, count * 4); };
  double best = 0;
  for (auto* copy : {kernels().copy, kernels().copy_past_caches, +by_library})
    best = std::max(best, copy_with(copy, source, target, threads));
  return best;
}

double read_bandwidth(int64_t bytes, int threads) {
  check_threads(threads);
  const Shares source(bytes, threads);
  const double seconds = best_seconds(threads, [&](int t) {
    [[maybe_unused]] volatile float used = 0;  // or the compiler would leave out the work
    for (int64_t i = 0; i < source.repeats(); ++i) used = kernels().read(source.of(t), source.count());
  });
  return source.bytes() * static_cast<double>(source.repeats()) / seconds * 1e-9;
}

std::vector<Rate> arithmetic_rates(int threads) {
  check_threads(threads);
  std::vector<Rate> rates;
  for (const Kernels* kernels : supported_kernels()) {
    rates.push_back({name_of(*kernels), "float32", rate_of(kernels->multiply_add, threads)});
    if (const double of_pairs = rate_of(kernels->multiply_add_bfloat16, threads); of_pairs > 0)
      rates.push_back({name_of(*kernels), "bfloat16", of_pairs});
  }
  return rates;
}

}  // namespace fusedops::cpu
