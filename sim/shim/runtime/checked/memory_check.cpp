// Two accesses to a byte race when they come from different threads, at least one writes, and neither a barrier with
// the right mem_flags nor, within a SIMD-group, a simdgroup_barrier lies between. Nothing orders the threadgroups of a
// launch. Of a byte's readers two are remembered, the last ones of two SIMD-groups. Atomic accesses do not race.

#include <vector>

#include "../buffers.h"
#include "../faults.h"
#include "../instrumented/memory_access.h"
#include "../launch.h"
#include "../observer.h"
#include "../platform.h"
#include "../report.h"
#include "../threads.h"
#include "../zeros.h"

namespace simulator::observer {
namespace {

enum Space { threadgroup_memory, device_memory };

struct Moment {         // who accessed a byte, and when
  uint64_t thread;      // threadgroup * kMaximumThreads + index + 1; 0: nobody
  uint32_t epoch;       // threadgroup barriers passed,
  uint32_t simd_epoch;  // and barriers of the thread's SIMD-group
  uint64_t threadgroup() const { return (thread - 1) / kMaximumThreads; }
  uint32_t index() const { return uint32_t(thread - 1) % kMaximumThreads; }
  uint64_t simdgroup() const { return (thread - 1) / 32; }
};

struct Byte {
  Moment write, reads[2];
};

struct Region {
  const char* data;
  size_t size;
  Zeros<Byte> bytes;
  bool contains(const char* p, size_t n) const { return p >= data && p + n <= data + size; }
};

struct Span {
  const char* data;
  size_t size;
};

Region arena;
std::vector<Span> variables;  // of the threadgroup, in the arena
std::vector<Region> device;
uint32_t epochs[2], simd_epochs[2][kMaximumThreads / 32];
uint64_t threadgroups;  // of this launch and the earlier ones

Moment now(Space space) {
  const uint32_t index = current_thread()->identity.v[MSL_IDX_TG][0];
  return {threadgroups * kMaximumThreads + index + 1, epochs[space], simd_epochs[space][index / 32]};
}

bool ordered(const Moment& a, const Moment& b, Space space) {
  if (!a.thread || a.thread == b.thread) return true;
  if (a.threadgroup() != b.threadgroup()) return space == threadgroup_memory;  // each has its own
  return a.epoch != b.epoch || (a.simdgroup() == b.simdgroup() && a.simd_epoch != b.simd_epoch);
}

// The mark of an address in the code, for which library.py puts file and line.
std::string place(const void* pc) { return format("@0x%zx", offset_in_library(pc) - 1); }

std::string name_of(const Region& region) {
  for (int i = 0; i < kMslBuffers; i++) {
    const char* bound = static_cast<const char*>(arguments().buf[i]);
    if (bound >= region.data && bound <= region.data + region.size) return format("buffer(%d)", i);
  }
  return "threadgroup memory";
}

void report_race(const Region& region, const char* p, const Moment& a, const char* first, const Moment& b,
                 const char* second, const void* pc) {
  const bool apart = a.threadgroup() != b.threadgroup();
  report(Severity::error,
         format("data race on %s: %s and %s %s", name_of(region).c_str(), first, second, place(pc).c_str()),
         format(" (byte %zu; threads %u and %u%s)", size_t(p - region.data), a.index(), b.index(),
                apart ? " of different threadgroups" : ""));
}

void record_write(const Region& region, const char* p, Byte& byte, const Moment& me, Space space, const void* pc) {
  if (!ordered(byte.write, me, space)) report_race(region, p, byte.write, "a write", me, "a write", pc);
  for (const Moment& read : byte.reads)
    if (!ordered(read, me, space)) report_race(region, p, read, "a read", me, "a write", pc);
  byte.write = me;
}

void record_read(const Region& region, const char* p, Byte& byte, const Moment& me, Space space, const void* pc) {
  if (!ordered(byte.write, me, space)) report_race(region, p, byte.write, "a write", me, "a read", pc);
  const bool written = byte.write.thread && byte.write.threadgroup() == me.threadgroup();
  if (space == threadgroup_memory && !written)
    report(Severity::error, "read of uninitialised threadgroup memory " + place(pc));
  const Moment& last = byte.reads[0];
  const bool other_simdgroup = last.thread && last.epoch == me.epoch && last.simdgroup() != me.simdgroup();
  byte.reads[other_simdgroup] = me;
}

void record(Region& region, const char* p, size_t size, Access access, Space space, const void* pc) {
  if (access == Access::atomic_read || access == Access::atomic_write) return;
  const Moment me = now(space);
  for (size_t i = 0; i < size; i++) {
    Byte& byte = region.bytes[p + i - region.data];
    if (access == Access::write)
      record_write(region, p + i, byte, me, space, pc);
    else
      record_read(region, p + i, byte, me, space, pc);
  }
}

[[noreturn]] void fail_outside(const char* p, const char* of, Access access, const void* pc) {
  fail(format("%s outside %s %s", access == Access::read ? "read" : "write", of, place(pc).c_str()), describe_place(p));
}

bool in_a_variable(const char* p, size_t size) {
  for (const Span& variable : variables)
    if (p >= variable.data && p + size <= variable.data + variable.size) return true;
  return false;
}

}  // namespace

void note_access(const void* address, size_t size, Access access, const void* pc) {
  if (!current_thread()) return;
  heed_stop_in_thread();
  const char* p = static_cast<const char*>(address);
  if (on_current_stack(p, size)) return;
  if (arena.contains(p, size)) {
    if (!in_a_variable(p, size)) fail_outside(p, "every threadgroup variable", access, pc);
    return record(arena, p, size, access, threadgroup_memory, pc);
  }
  for (Region& buffer : device)
    if (buffer.contains(p, size)) return record(buffer, p, size, access, device_memory, pc);
  if (!in_this_library(p, size)) fail_outside(p, "every buffer", access, pc);
}

void begin_launch() {}
void add_buffer(char* data, size_t size, bool) { device.push_back({data, size, Zeros<Byte>(size)}); }
void forget_buffers() { device.clear(); }

void begin_threadgroup(char* data, size_t size) {
  if (!arena.data) arena = {data, size, Zeros<Byte>(size)};
  variables.clear();
  threadgroups++;
  for (uint32_t& epoch : epochs) epoch++;
}

void add_threadgroup_variable(char* data, size_t size) { variables.push_back({data, size}); }

void threadgroup_barrier(uint32_t mem_flags, int) {
  if (mem_flags & 1) epochs[device_memory]++;
  if (mem_flags & 2) epochs[threadgroup_memory]++;
}

void simdgroup_operation(int simdgroup, MslOp operation, uint32_t, uint32_t mem_flags) {
  if (operation != MSL_OP_BARRIER) return;
  if (mem_flags & 1) simd_epochs[device_memory][simdgroup]++;
  if (mem_flags & 2) simd_epochs[threadgroup_memory][simdgroup]++;
}

}  // namespace simulator::observer
