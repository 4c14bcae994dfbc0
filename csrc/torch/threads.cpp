#include "torch/threads.h"

#include "torch/shim.h"

namespace fusedops::torch {
namespace {

class TorchThreads final : public cpu::Executor {
 public:
  int threads() const override {
    uint32_t count = 1;
    FUSEDOPS_TORCH_CALL(torch_get_num_threads, &count);
    return static_cast<int>(count);
  }

  // OpenMP's threads stay awake for a while after each call, so that the next one finds them at once.
  int64_t least_work() const override { return cpu::forked() ? cpu::own_threads().least_work() : 1 << 14; }

  void run(int threads, cpu::Body body, void* context) override {
    // Torch's OpenMP threads do not survive a fork: a child that waits for them waits forever.
    if (cpu::forked()) return cpu::own_threads().run(threads, body, context);
    struct Call {
      cpu::Body body;
      void* context;
    } call{body, context};
    // Torch hands each thread a range of "begin to end"; that it was called at all is what counts here.
    const auto on_thread = [](int64_t, int64_t, void* argument) {
      const Call& c = *static_cast<Call*>(argument);
      c.body(c.context);
    };
    FUSEDOPS_TORCH_CALL(torch_parallel_for, 0, threads, 1, on_thread, &call);
  }
};

}  // namespace

cpu::Executor& threads() {
  static TorchThreads torch_threads;
  const bool available = functions().torch_parallel_for && functions().torch_get_num_threads;
  return available ? torch_threads : cpu::own_threads();
}

}  // namespace fusedops::torch
