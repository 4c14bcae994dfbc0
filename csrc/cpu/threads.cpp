// A small pool: workers sleep between calls, one call at a time uses them.
#include <pthread.h>

#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <system_error>
#include <thread>

#include "cpu/executor.h"

#if defined(__linux__)
#include <sched.h>
#endif

namespace fusedops::cpu {
namespace {

int available_cpus() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  const unsigned count = std::thread::hardware_concurrency();
  return count ? static_cast<int>(count) : 1;
}

int configured_threads() {
  // OMP_NUM_THREADS may be a list, of which the first entry counts for the outermost level.
  const char* text = std::getenv("OMP_NUM_THREADS");
  const int wanted = text ? std::atoi(text) : 0;
  return wanted > 0 ? wanted : available_cpus();
}

class Pool final : public Executor {
 public:
  Pool() : threads_(configured_threads()) {}

  int threads() const override { return threads_; }

  void run(int threads, void (*body)(void*), void* context) override {
    std::unique_lock<std::mutex> turn(turn_, std::try_to_lock);
    if (!turn) return body(context);  // another caller has the workers
    start_workers(threads - 1);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      body_ = body;
      context_ = context;
      unclaimed_ = running_ = threads - 1;
    }
    work_.notify_all();
    body(context);
    std::unique_lock<std::mutex> lock(mutex_);
    running_ -= unclaimed_;  // the work is done: whoever has not woken by now need not
    unclaimed_ = 0;
    done_.wait(lock, [&] { return running_ == 0; });
  }

 private:
  // As many as the system lets us have: the work goes on with fewer.
  void start_workers(int count) {
    try {
      for (; workers_ < count; ++workers_) std::thread([this] { serve(); }).detach();
    } catch (const std::system_error&) {
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

  const int threads_;
  int workers_ = 0;
  std::mutex turn_;   // held by the caller that uses the workers
  std::mutex mutex_;  // guards all below
  std::condition_variable work_, done_;
  void (*body_)(void*) = nullptr;
  void* context_ = nullptr;
  int unclaimed_ = 0;
  int running_ = 0;
};

// Never destroyed: its detached workers may outlive static destruction.
Pool* pool = nullptr;

void make_pool() { pool = new Pool; }

}  // namespace

Executor& own_threads() {
  static const bool once = [] {
    make_pool();
    pthread_atfork(nullptr, nullptr, make_pool);  // a forked child has none of its parent's workers
    return true;
  }();
  (void)once;
  return *pool;
}

}  // namespace fusedops::cpu
