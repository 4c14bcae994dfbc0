// A small pool: workers sleep between calls, one call at a time uses them.
#include <pthread.h>

#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>

#include "cpu/executor.h"

#if defined(__linux__)
#include <sched.h>
#endif

namespace fusedops::cpu {

// Each of the package's modules holds a copy of this file. What is exported is one for the whole process all the same:
// the dynamic linker merges it.
[[gnu::visibility("default")]] inline Executor* pool = nullptr;  // never destroyed: its workers may outlive destructors
[[gnu::visibility("default")]] inline bool was_forked = false;

namespace {

int available_cpus() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  const unsigned count = std::thread::hardware_concurrency();
  return count ? static_cast<int>(count) : 1;
}

// The first entry of OMP_NUM_THREADS, which counts for the outermost level; 0 where there is none that makes sense.
int wanted_threads() {
  constexpr long limit = 1 << 16;
  const char* text = std::getenv("OMP_NUM_THREADS");
  if (!text) return 0;
  char* end = nullptr;
  const long count = std::strtol(text, &end, 10);
  const bool whole = *end == '\0' || *end == ',' || *end == ' ';
  return whole && count > 0 && count < limit ? static_cast<int>(count) : 0;
}

class Pool final : public Executor {
 public:
  // Counted once, at the first call: asking for the CPUs takes as long as normalising a short row.
  int threads() const override {
    int count = threads_.load(std::memory_order_relaxed);
    if (count == 0) {
      count = wanted_threads();
      if (count == 0) count = available_cpus();
      threads_.store(count, std::memory_order_relaxed);
    }
    return count;
  }

  // Waking a sleeping thread takes some ten microseconds, in virtual machines several times as long.
  int64_t least_work() const override { return 3 << 16; }

  void run(int threads, Body body, void* context) override {
    if (in_use_.exchange(true, std::memory_order_acquire)) return body(context);
    run_in_turn(threads, body, context);
    in_use_.store(false, std::memory_order_release);
  }

 private:
  void run_in_turn(int threads, Body body, void* context) noexcept {
    start_workers(threads - 1);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      body_ = body;
      context_ = context;
      unclaimed_ = threads - 1;
      running_ = threads - 1;
    }
    for (int i = 1; i < threads; ++i) work_.notify_one();
    body(context);
    wait_for_workers();
  }

  // As many as the system lets us have: the work goes on with fewer.
  void start_workers(int count) {
    try {
      for (; workers_ < count; ++workers_) std::thread([this] { serve(); }).detach();
    } catch (const std::exception&) {  // no thread, or no memory for one
    }
  }

  void serve() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      work_.wait(lock, [&] { return unclaimed_ > 0; });
      --unclaimed_;
      lock.unlock();
      body_(context_);
      lock.lock();
      if (--running_ == 0) done_.notify_one();
    }
  }

  void wait_for_workers() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      running_ -= unclaimed_;  // the work is done: whoever has not woken by now need not
      unclaimed_ = 0;
    }
    // The last task of a worker is mostly about to end, sooner than a sleeping caller would be woken.
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(20);
    while (running_ > 0 && std::chrono::steady_clock::now() < until) {
    }
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [&] { return running_ == 0; });
  }

  mutable std::atomic<int> threads_{0};
  int workers_ = 0;
  // By a caller: others work alone, and so does what handles its interruption, in the same thread.
  std::atomic<bool> in_use_{false};
  std::mutex mutex_;  // guards all below
  std::condition_variable work_, done_;
  Body body_ = nullptr;
  void* context_ = nullptr;
  int unclaimed_ = 0;
  std::atomic<int> running_{0};
};

// A child has none of its parent's threads, and its parent's pool may have been in use. Registered when the package is
// loaded, for a child may be the first to compute.
const bool follows_forks = [] {
  if (pool) return true;
  pool = new Pool;
  pthread_atfork(nullptr, nullptr, [] {
    was_forked = true;
    pool = new Pool;
  });
  return true;
}();

}  // namespace

Executor& own_threads() { return *pool; }

bool forked() { return was_forked; }

}  // namespace fusedops::cpu
