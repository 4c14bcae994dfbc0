#include "launch.h"

#include <algorithm>
#include <new>
#include <span>
#include <string>

#include "buffers.h"
#include "exported.h"
#include "faults.h"
#include "observer.h"
#include "order.h"
#include "report.h"
#include "scheduler.h"
#include "threadgroup_memory.h"
#include "threads.h"

namespace simulator {
namespace {

const MslKernel* launched;
MslLaunch bound;
const char disabled[64 << 10] = {};

struct Size {
  uint32_t d[3];
  uint64_t volume() const { return uint64_t(d[0]) * d[1] * d[2]; }
  Size position(uint64_t i) const {
    return {{uint32_t(i % d[0]), uint32_t(i / d[0] % d[1]), uint32_t(i / (uint64_t(d[0]) * d[1]))}};
  }
};

}  // namespace

const MslKernel& kernel() { return *launched; }
const MslLaunch& arguments() { return bound; }

}  // namespace simulator

using namespace simulator;

// What library.py passes: numbers that arguments.py has found to be within Metal's limits. grid counts threads, so that
// threadgroups at the edges may be smaller.
struct MslRun {
  const char* kernel;
  void* buffers[kMslBuffers];
  uint32_t threadgroup_memory[kMslBuffers];
  uint32_t grid[3], threadgroup[3];
  int order;
  uint64_t seed;
  double time_limit;
};

namespace {

void check_arguments(const MslRun& run) {
  for (const MslParam& p : std::span(kernel().parameters, kernel().count)) {
    if (p.kind == MSL_BUFFER && !run.buffers[p.index] && is_enabled(p))
      report(Severity::fatal, format("buffer(%d) '%s' is not bound", p.index, p.name));
    if (p.kind == MSL_TGMEM && !run.threadgroup_memory[p.index])
      report(Severity::fatal, format("threadgroup(%d) '%s' has no length", p.index, p.name));
  }
}

void identify(Thread& thread, uint32_t index, const Size& position, const Size& threadgroup, const Size& threads,
              const Size& threadgroups, const MslRun& run) {
  auto& v = thread.identity.v;
  for (int d = 0; d < 3; d++) {
    v[MSL_POS_TG][d] = position.d[d];
    v[MSL_TG_POS][d] = threadgroup.d[d];
    v[MSL_POS_GRID][d] = threadgroup.d[d] * run.threadgroup[d] + position.d[d];
    v[MSL_TG_SIZE][d] = threads.d[d];
    v[MSL_GRID_SIZE][d] = run.grid[d];
    v[MSL_TGS_PER_GRID][d] = threadgroups.d[d];
  }
  v[MSL_IDX_TG][0] = index;
  v[MSL_LANE][0] = index % 32;
  v[MSL_SIMD][0] = index / 32;
  v[MSL_NSIMD][0] = uint32_t(threads.volume() + 31) / 32;
  v[MSL_SIMD_SIZE][0] = 32;
  v[MSL_QUAD_LANE][0] = index % 4;
  v[MSL_QUAD][0] = index / 4;
}

// The threads that are left for a threadgroup at the grid's edge.
Size threads_of(const Size& threadgroup, const MslRun& run) {
  Size size;
  for (int d = 0; d < 3; d++)
    size.d[d] = std::min(run.threadgroup[d], run.grid[d] - threadgroup.d[d] * run.threadgroup[d]);
  return size;
}

void prepare_threads(const Size& threadgroup, const Size& threadgroups, const MslRun& run) {
  const Size size = threads_of(threadgroup, run);
  set_thread_count(int(size.volume()));
  for (uint32_t i = 0; i < size.volume(); i++)
    identify(threads()[i], i, size.position(i), threadgroup, size, threadgroups, run);
}

void run_kernel() { kernel().entry(arguments(), current_thread()->identity, kernel().parameters); }

// In a thread, so that a division by zero among them is a finding.
void compute_constants_in_thread() {
  set_thread_count(1);
  threads()[0].identity = {};
  start(threads()[0], compute_constants);
  resume(threads()[0]);
}

// A parameter that a function constant disables reads as zeros and cannot be written.
void bind_buffers(const MslRun& run) {
  for (int i = 0; i < kMslBuffers; i++) bound.buf[i] = run.buffers[i] ? run.buffers[i] : const_cast<char*>(disabled);
}

void run_grid(const MslRun& run) {
  Order order(Order::Kind(run.order), run.seed);
  Size threadgroups;
  for (int d = 0; d < 3; d++) threadgroups.d[d] = (run.grid[d] - 1) / run.threadgroup[d] + 1;
  order.for_each(threadgroups.volume(), [&](uint64_t i) {
    prepare_threads(threadgroups.position(i), threadgroups, run);
    begin_threadgroup_memory(run.threadgroup_memory, bound);
    if (!must_stop()) run_threadgroup(order, run_kernel);
    if (!must_stop()) end_threadgroup_memory();
    return !must_stop();
  });
}

void launch(const MslRun& run) {
  const Stacks stacks{int(run.threadgroup[0] * run.threadgroup[1] * run.threadgroup[2])};
  const FaultsCaught faults_caught(run.time_limit);
  bind_buffers(run);
  if (!must_stop()) compute_constants_in_thread();
  if (!must_stop()) check_arguments(run);
  if (!must_stop()) run_grid(run);
  check_surroundings();
}

}  // namespace

// Returns the log, which stays valid until the next launch. Null: there is no memory for it.
extern "C" EXPORTED const char* msl_run(const MslRun* run) try {
  static std::string log;
  clear_log();
  observer::begin_launch();
  launched = &find_kernel(run->kernel);
  launch(*run);
  log = log_text();
  return log.c_str();
} catch (const std::bad_alloc&) {
  return nullptr;
}
