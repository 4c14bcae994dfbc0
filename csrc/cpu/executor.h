// Who runs an operator's tasks: the caller's framework decides how many threads there are.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <thread>

#include "cpu/interruption.h"

namespace fusedops::cpu {

// What threads run. It must not throw: frameworks' threads, and other languages' frames, pass no exceptions on.
using Body = void (*)(void* context) noexcept;

class Executor {
 public:
  virtual ~Executor() = default;
  virtual int threads() const = 0;
  // The least work for a thread that makes up for waking it, in elements that are read, computed and written.
  virtual int64_t least_work() const = 0;
  // Calls body(context) on `threads` threads at once, the calling one included, and waits for all of them.
  // May use fewer threads; the body therefore takes its share from a common counter.
  virtual void run(int threads, Body body, void* context) = 0;
};

// How many threads to use for so much work, in the unit of least_work().
inline int threads_for(const Executor& executor, int64_t work) {
  const int64_t worthwhile = work / executor.least_work();
  if (worthwhile <= 1) return 1;
  return static_cast<int>(std::min<int64_t>(worthwhile, executor.threads()));
}

// Runs task(index, worker) for every index below `count`, in any order, on up to `threads` threads. Tasks with the same
// `worker`, a number below `threads`, never run at the same time. What a task throws ends them all, and is thrown here.
template <class Task>
void for_each_task(Executor& executor, int threads, int64_t count, Task&& task) {
  threads = static_cast<int>(std::min<int64_t>(threads, count));
  if (threads <= 1) {
    for (int64_t i = 0; i < count; ++i) {
      if (i > 0) interruption_point();
      task(i, 0);
    }
    return;
  }
  struct Shared {
    Task& task;
    int64_t count;
    std::thread::id caller = std::this_thread::get_id();
    std::atomic<int64_t> next_index{0};
    std::atomic<int> next_worker{0};
    std::atomic<bool> failed{false};
    std::exception_ptr failure{};  // the first
  } shared{task, count};
  executor.run(
      threads,
      [](void* context) noexcept {
        auto& s = *static_cast<Shared*>(context);
        const int worker = s.next_worker.fetch_add(1, std::memory_order_relaxed);
        const Share share(s.failed, std::this_thread::get_id() == s.caller);
        try {
          for (int64_t i; (i = s.next_index.fetch_add(1, std::memory_order_relaxed)) < s.count; interruption_point())
            s.task(i, worker);
        } catch (...) {
          if (!s.failed.exchange(true)) s.failure = std::current_exception();
        }
      },
      &shared);
  if (shared.failure) std::rethrow_exception(shared.failure);
}

// fusedops' own threads, for frameworks that bring none (MLX, numpy): as many as OMP_NUM_THREADS says, else as
// many as there were CPUs for the first caller. A caller that finds them busy works alone. Usable again in a forked
// child.
Executor& own_threads();

// Whether this process was forked after fusedops was loaded, so that it lacks the threads of all frameworks.
bool forked();

}  // namespace fusedops::cpu
