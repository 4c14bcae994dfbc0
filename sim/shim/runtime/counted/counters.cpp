// Counts what a launch asks of the machine. Bytes are counted three times: as often as threads ask for them, once for
// each threadgroup, and once for the launch. What setBytes copied is no traffic: it sits in the constant cache.
#include <bit>
#include <vector>

#include "../exported.h"
#include "../instrumented/memory_access.h"
#include "../observer.h"
#include "../threads.h"
#include "../zeros.h"

namespace simulator::observer {
namespace {

struct DeviceBytes {
  uint64_t total, by_threadgroups, distinct;
};

struct Cost {  // as sim/run/cost.py has it
  DeviceBytes loaded, stored;
  uint64_t threadgroup_loaded, threadgroup_stored;
  uint64_t multiply_accumulates;
  uint64_t shuffles, reductions;
  uint64_t threadgroup_barriers, simdgroup_barriers;
  uint64_t exponentials;
};

Cost cost;

// Sets of a buffer's bytes, a bit each: those that the launch has accessed, and those that the threadgroup has.
class Touched {
 public:
  explicit Touched(size_t size) : launch_(size / 64 + 1), threadgroup_(size / 64 + 1), words_(size / 64 + 1) {}

  void add(size_t offset, size_t size, DeviceBytes& bytes) {
    bytes.total += size;
    for (const size_t end = offset + size; offset < end; offset = (offset / 64 + 1) * 64)
      add_to_word(offset / 64, bits(offset % 64, end - offset / 64 * 64), bytes);
  }

  void begin_threadgroup() {
    while (word_count_) threadgroup_[words_[--word_count_]] = 0;
  }

 private:
  static uint64_t bits(size_t first, size_t end) {
    const uint64_t below_end = end >= 64 ? ~uint64_t(0) : (uint64_t(1) << end) - 1;
    return below_end >> first << first;
  }

  void add_to_word(size_t word, uint64_t accessed, DeviceBytes& bytes) {
    const uint64_t fresh = accessed & ~threadgroup_[word];
    if (!fresh) return;
    if (!threadgroup_[word]) words_[word_count_++] = word;
    threadgroup_[word] |= fresh;
    bytes.by_threadgroups += std::popcount(fresh);
    bytes.distinct += std::popcount(fresh & ~launch_[word]);
    launch_[word] |= fresh;
  }

  Zeros<uint64_t> launch_, threadgroup_;
  Zeros<size_t>
      words_;  // where threadgroup_ is not zero; nothing grows while a thread runs, which may be stopped anywhere
  size_t word_count_ = 0;
};

struct DeviceBuffer {
  const char* data;
  size_t size;
  bool is_value;
  Touched loaded, stored;
  bool contains(const char* p) const { return size_t(p - data) < size; }
};

std::vector<DeviceBuffer> buffers;
const char* arena;
size_t arena_size;

bool is_read(Access access) { return access == Access::read || access == Access::atomic_read; }

}  // namespace

void note_access(const void* address, size_t size, Access access, const void*) {
  const char* p = static_cast<const char*>(address);
  if (size_t(p - arena) < arena_size) {
    (is_read(access) ? cost.threadgroup_loaded : cost.threadgroup_stored) += size;
    return;
  }
  if (!current_thread() || on_current_stack(p, size)) return;
  for (DeviceBuffer& buffer : buffers) {
    if (!buffer.contains(p)) continue;
    if (buffer.is_value) return;
    if (is_read(access))
      buffer.loaded.add(p - buffer.data, size, cost.loaded);
    else
      buffer.stored.add(p - buffer.data, size, cost.stored);
    return;
  }
}

void begin_launch() { cost = {}; }
void add_buffer(char* data, size_t size, bool is_value) {
  const size_t tracked = is_value ? 0 : size;
  buffers.push_back({data, size, is_value, Touched(tracked), Touched(tracked)});
}
void forget_buffers() { buffers.clear(); }

void begin_threadgroup(char* data, size_t size) {
  arena = data;
  arena_size = size;
  for (DeviceBuffer& buffer : buffers) {
    buffer.loaded.begin_threadgroup();
    buffer.stored.begin_threadgroup();
  }
}

void add_threadgroup_variable(char*, size_t) {}

void threadgroup_barrier(uint32_t, int simdgroups) { cost.threadgroup_barriers += simdgroups; }

void simdgroup_operation(int, MslOp operation, uint32_t size, uint32_t) {
  constexpr uint64_t kProductOfMatrices = 8 * 8 * 8;
  const uint64_t words = (size + 3) / 4;  // the registers that the lanes exchange
  switch (operation) {
    case MSL_OP_BARRIER:
      cost.simdgroup_barriers++;
      break;
    case MSL_OP_SHUFFLE:
      cost.shuffles += words;
      break;
    case MSL_OP_REDUCE:
    case MSL_OP_VOTE:
      cost.reductions += words;
      break;
    case MSL_OP_MULTIPLY:
      cost.multiply_accumulates += kProductOfMatrices;
      break;
    case MSL_OP_MATRIX_LOAD:
    case MSL_OP_MATRIX_STORE:  // their accesses are counted as such
      break;
  }
}

}  // namespace simulator::observer

extern "C" {

void msl_rt_exponential() { simulator::observer::cost.exponentials++; }

// That of the last launch.
EXPORTED const void* msl_cost() { return &simulator::observer::cost; }

}  // extern "C"
