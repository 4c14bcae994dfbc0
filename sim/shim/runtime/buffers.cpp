#include "buffers.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

#include "exported.h"
#include "launch.h"
#include "observer.h"
#include "platform.h"
#include "report.h"

namespace simulator {
namespace {

constexpr size_t kGuard = 64 << 10;  // a multiple of every page size
constexpr size_t kAlignment = 16;    // of a buffer's beginning
constexpr char kPoison = char(0xa5);

std::vector<Buffer> allocated;

size_t rounded_up(size_t size, size_t unit) { return (size + unit - 1) / unit * unit; }

int bound_index(const Buffer& buffer) {  // -1: the launch does not use it
  for (int i = 0; i < kMslBuffers; i++)
    if (buffer.surrounds(arguments().buf[i])) return i;
  return -1;
}

bool is_poisoned(const char* begin, const char* end) {
  for (const char* p = begin; p < end; p++)
    if (*p != kPoison) return false;
  return true;
}

}  // namespace

const std::vector<Buffer>& buffers() { return allocated; }

std::string describe_place(const void* address) {
  for (const Buffer& buffer : allocated) {
    const int index = bound_index(buffer);
    if (index < 0 || !buffer.surrounds(address)) continue;
    const long offset = static_cast<const char*>(address) - buffer.data;
    return format(": byte offset %ld of buffer(%d), which has %zu bytes", offset, index, buffer.size);
  }
  return "";
}

void check_surroundings() {
  for (const Buffer& buffer : allocated) {
    const int index = bound_index(buffer);
    const char *begin = buffer.mapping + kGuard, *end = buffer.mapping + buffer.mapping_size - kGuard;
    if (index >= 0 && (!is_poisoned(begin, buffer.data) || !is_poisoned(buffer.data + buffer.size, end)))
      report(Severity::error, format("write just outside buffer(%d)", index));
  }
}

}  // namespace simulator

using namespace simulator;

extern "C" {

// Null: there is no memory for it.
EXPORTED void* msl_allocate(size_t size, bool is_value) try {
  const size_t needed = rounded_up(size, kAlignment), body = rounded_up(needed + 1, page_size());
  const size_t mapping_size = body + 2 * kGuard;
  void* const mapped = mmap(nullptr, mapping_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  char* const mapping = static_cast<char*>(mapped);
  char* const data = mapping + kGuard + body - needed;
  allocated.push_back({mapping, mapping_size, data, size});  // from here on msl_free_all frees it
  if (mprotect(mapping + kGuard, body, PROT_READ | PROT_WRITE)) return nullptr;
  memset(mapping + kGuard, kPoison, body);
  observer::add_buffer(data, size, is_value);
  return data;
} catch (const std::bad_alloc&) {
  return nullptr;
}

EXPORTED void msl_free_all() {
  for (const Buffer& buffer : allocated) munmap(buffer.mapping, buffer.mapping_size);
  allocated.clear();
  observer::forget_buffers();
}

}  // extern "C"
