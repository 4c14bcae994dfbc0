#include "threadgroup_memory.h"

#include <cstring>

#include "observer.h"
#include "report.h"
#include "threads.h"

namespace simulator {
namespace {

constexpr size_t kLimit = 32 << 10;  // of Apple GPUs
constexpr size_t kAlignment = 16;
constexpr size_t kFence = 64;  // between variables, so that running past one does not meet the next

alignas(256) char arena[256 << 10];
size_t arena_used, bytes_used;
uint64_t epoch;  // counts threadgroups

// Filled with NaN in every float format, so that reading it uninitialised shows. Null: the arena is full.
char* allocate(size_t size, size_t align) {
  if (align < kAlignment) align = kAlignment;
  const size_t offset = (arena_used + align - 1) / align * align;
  if (offset + size > sizeof arena) return nullptr;
  arena_used = offset + size + kFence;
  bytes_used += (size + kAlignment - 1) / kAlignment * kAlignment;
  memset(arena + offset, 0xff, size);
  observer::add_threadgroup_variable(arena + offset, size);
  return arena + offset;
}

std::string too_much(size_t bytes) { return format("threadgroup memory: %zu bytes, the limit is %zu", bytes, kLimit); }

}  // namespace

void begin_threadgroup_memory(const uint32_t (&lengths)[kMslBuffers], MslLaunch& launch) {
  epoch++;
  arena_used = bytes_used = 0;
  observer::begin_threadgroup(arena, sizeof arena);
  for (int i = 0; i < kMslBuffers; i++) {
    launch.tgmem[i] = lengths[i] ? allocate(lengths[i], kAlignment) : nullptr;
    if (lengths[i] && !launch.tgmem[i]) report(Severity::fatal, too_much(lengths[i]));
  }
}

void end_threadgroup_memory() {
  if (bytes_used > kLimit) report(Severity::fatal, too_much(bytes_used));
}

}  // namespace simulator

using namespace simulator;

extern "C" void* msl_rt_tg(MslTgSlot* slot, size_t size, size_t align) {
  if (slot->epoch != epoch) {
    slot->epoch = epoch;
    slot->ptr = allocate(size, align);
    if (!slot->ptr) fail(too_much(size));
  }
  return slot->ptr;
}
