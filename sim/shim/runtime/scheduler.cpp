#include "scheduler.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "faults.h"
#include "observer.h"
#include "report.h"
#include "threads.h"

namespace simulator {
namespace {

constexpr int kLanes = 32;

struct Simdgroup {
  int first, count;  // its threads
  uint32_t active;   // the lanes that took part in the last operation, and what they posted
  alignas(64) char values[kLanes * kMslLaneBytes];

  Thread& lane(int i) const { return threads()[first + i]; }
  uint32_t full() const { return count == kLanes ? ~0u : (1u << count) - 1; }
};

Simdgroup all[kMaximumThreads / kLanes];
std::span<Simdgroup> simdgroups;  // of the threadgroup that runs

void divide_into_simdgroups() {
  const int count = int(threads().size());
  simdgroups = {all, size_t(count + kLanes - 1) / kLanes};
  for (int i = 0; i < int(simdgroups.size()); i++) {
    simdgroups[i].first = i * kLanes;
    simdgroups[i].count = std::min(kLanes, count - i * kLanes);
  }
}

bool run_lanes(const Simdgroup& group, Order& order) {
  static std::vector<int> lanes(kLanes);
  bool ran = false;
  order.arrange(lanes);
  for (int i : lanes) {
    if (i >= group.count || group.lane(i).state != State::runnable) continue;
    resume(group.lane(i));
    ran = true;
    if (must_stop()) break;
  }
  return ran;
}

uint32_t lanes_in(const Simdgroup& group, State state) {
  uint32_t lanes = 0;
  for (int i = 0; i < group.count; i++)
    if (group.lane(i).state == state) lanes |= 1u << i;
  return lanes;
}

// Of the sites where lanes wait, the first one in program order, as a SIMT machine takes forward branches.
const Site& next_site(const Simdgroup& group, uint32_t waiting) {
  const Site* next = nullptr;
  for (int i = 0; i < group.count; i++) {
    if (!(waiting >> i & 1)) continue;
    const Site& site = group.lane(i).site;
    if (!next || site.line < next->line) next = &site;
  }
  return *next;
}

uint32_t lanes_at(const Simdgroup& group, uint32_t waiting, const Site& site) {
  uint32_t lanes = 0;
  for (int i = 0; i < group.count; i++)
    if ((waiting >> i & 1) && group.lane(i).site == site) lanes |= 1u << i;
  return lanes;
}

void report_divergence(const Simdgroup& group, const Site& site, uint32_t active, uint32_t waiting) {
  const uint32_t done = lanes_in(group, State::done);
  if (active != waiting)
    report(Severity::warning, format("divergent SIMD-group operation: lanes %08x at %s:%u, other lanes elsewhere",
                                     active, site.file, site.line));
  else if (active != (group.full() & ~done))
    report(Severity::warning, format("SIMD-group operation by lanes %08x only (others wait at a barrier) at %s:%u",
                                     active, site.file, site.line));
  else if (done)
    report(Severity::warning,
           format("SIMD-group operation after lanes %08x returned at %s:%u", done, site.file, site.line));
}

// Lets the lanes at the next site go on, with one another's values. False: no lane waits at a SIMD-group operation.
bool complete_operation(Simdgroup& group) {
  const uint32_t waiting = lanes_in(group, State::at_simd_operation);
  if (!waiting) return false;
  const Site site = next_site(group, waiting);
  group.active = lanes_at(group, waiting, site);
  if (group.active != group.full()) report_divergence(group, site, group.active, waiting);
  uint32_t flags = 0;
  for (int i = 0; i < group.count; i++) {
    if (!(group.active >> i & 1)) continue;
    Thread& thread = group.lane(i);
    memcpy(group.values + i * site.size, thread.value, site.size);
    thread.state = State::runnable;
    flags = thread.mem_flags;
  }
  observer::simdgroup_operation(group.first / kLanes, site.operation, site.size, flags);
  return true;
}

// Runs the SIMD-group up to its next operation and completes that. False: it cannot move.
bool step(Simdgroup& group, Order& order) {
  heed_stop();
  if (must_stop()) return false;
  const bool ran = run_lanes(group, order);
  return !must_stop() && (complete_operation(group) || ran);
}

// In random order SIMD-groups interleave: each runs to its barrier, or for a few operations.
bool step_simdgroups(Order& order) {
  static std::vector<int> groups;
  groups.resize(simdgroups.size());
  order.arrange(groups);
  bool moved = false;
  for (int i : groups) {
    const bool briefly = order.is_random() && order.below(2);
    for (int left = briefly ? 1 + int(order.below(8)) : -1; left && step(simdgroups[i], order); left--) moved = true;
    if (must_stop()) return false;
  }
  return moved;
}

// Lets all threads go on from the threadgroup_barrier where they wait. False: all are done.
bool release_barrier() {
  const Thread* lead = nullptr;
  int returned = 0;
  for (Thread& thread : threads()) {
    if (thread.state == State::done) {
      returned++;
      continue;
    }
    if (!lead) lead = &thread;
    if (!(thread.site == lead->site) || thread.mem_flags != lead->mem_flags)
      report(Severity::fatal, format("divergent threadgroup_barrier: some threads at %s:%u, others at %s:%u",
                                     lead->site.file, lead->site.line, thread.site.file, thread.site.line));
    thread.state = State::runnable;
  }
  if (!lead) return false;
  if (returned)
    report(Severity::warning, format("threadgroup_barrier at %s:%u not reached by %d thread(s) that returned",
                                     lead->site.file, lead->site.line, returned));
  observer::threadgroup_barrier(lead->mem_flags, int(simdgroups.size()));
  return true;
}

}  // namespace

void run_threadgroup(Order& order, void (*body)()) {
  divide_into_simdgroups();
  for (Thread& thread : threads()) start(thread, body);
  do {
    while (step_simdgroups(order)) {
    }
  } while (!must_stop() && release_barrier());
}

}  // namespace simulator

using namespace simulator;

extern "C" {

MslLanes msl_rt_simd(const void* value, uint32_t size, MslOp operation, const char* file, uint32_t line) {
  Thread& thread = *current_thread();
  thread.site = {file, line, operation, size};
  thread.value = value;
  if (operation == MSL_OP_BARRIER) memcpy(&thread.mem_flags, value, sizeof thread.mem_flags);
  thread.state = State::at_simd_operation;
  wait();
  const Simdgroup& group = simdgroups[thread.identity.v[MSL_SIMD][0]];
  return {group.values, group.active, thread.identity.v[MSL_LANE][0]};
}

void msl_rt_barrier(uint32_t mem_flags, const char* file, uint32_t line) {
  Thread& thread = *current_thread();
  thread.site = {file, line, MSL_OP_BARRIER, 0};
  thread.mem_flags = mem_flags;
  thread.state = State::at_barrier;
  wait();
}

uint32_t msl_rt_lane() { return current_thread()->identity.v[MSL_LANE][0]; }

void msl_rt_warn(const char* what, const char* file, uint32_t line) {
  report(Severity::warning, format("%s at %s:%u", what, file, line));
}

}  // extern "C"
