#include "platform.h"

#include <unistd.h>

#include <csignal>
#include <cstdint>

#if defined(__APPLE__)
#include <mach-o/loader.h>
#include <sys/ucontext.h>
extern "C" const mach_header_64 _mh_dylib_header;
#elif defined(__linux__)
#include <ucontext.h>
extern "C" __attribute__((visibility("hidden"))) const char __ehdr_start, _end;  // set by the linker
#else
#error "the simulator runs on Linux and macOS hosts only"
#endif

namespace simulator {
namespace {

#if defined(__APPLE__)
const char* library_begin() { return reinterpret_cast<const char*>(&_mh_dylib_header); }

const char* library_end() {
  const auto* command = reinterpret_cast<const load_command*>(&_mh_dylib_header + 1);
  uint64_t end = 0, text = 0;
  for (uint32_t i = 0; i < _mh_dylib_header.ncmds; i++) {
    if (command->cmd == LC_SEGMENT_64) {
      const auto* segment = reinterpret_cast<const segment_command_64*>(command);
      if (segment->fileoff == 0 && segment->filesize) text = segment->vmaddr;
      if (segment->vmaddr + segment->vmsize > end) end = segment->vmaddr + segment->vmsize;
    }
    command = reinterpret_cast<const load_command*>(reinterpret_cast<const char*>(command) + command->cmdsize);
  }
  return library_begin() + (end - text);
}
#else
const char* library_begin() { return &__ehdr_start; }
const char* library_end() { return &_end; }
#endif

}  // namespace

size_t page_size() {
  static const size_t size = size_t(sysconf(_SC_PAGESIZE));
  return size;
}

void resume_in(void* signal_context, void (*entry)(), char* end) {
  auto& machine = static_cast<ucontext_t*>(signal_context)->uc_mcontext;
  const auto address = reinterpret_cast<uintptr_t>(entry), top = reinterpret_cast<uintptr_t>(end);
#if defined(__linux__) && defined(__x86_64__)
  machine.gregs[REG_RIP] = greg_t(address);
  machine.gregs[REG_RSP] = greg_t(top - 8);  // as after a call
#elif defined(__linux__) && defined(__aarch64__)
  machine.pc = address;
  machine.sp = top;
#elif defined(__APPLE__) && defined(__x86_64__)
  machine->__ss.__rip = address;
  machine->__ss.__rsp = top - 8;
#elif defined(__APPLE__) && defined(__aarch64__)
  machine->__ss.__pc = address;
  machine->__ss.__sp = top;
#endif
}

bool in_this_library(const void* address, size_t size) {
  static const char *const begin = library_begin(), *const end = library_end();
  const char* first = static_cast<const char*>(address);
  return first >= begin && first + size <= end;
}

size_t offset_in_library(const void* address) { return size_t(static_cast<const char*>(address) - library_begin()); }

}  // namespace simulator
