#include "threads.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

#include "fiber.h"
#include "report.h"

namespace simulator {
namespace {

constexpr size_t kGuard = 64 << 10;  // below the first stack
constexpr size_t kCanary = 0x5ca1ab1e0ddba11;

// In the library itself, where the memory check lets kernels read: their identities, for example.
Thread all[kMaximumThreads];
int thread_count;
Thread* running;
void* scheduler_stack_pointer;
void (*thread_body)();
char* stacks;  // one for each thread and a spare one
int stack_count;

size_t mapping_size() { return kGuard + stack_count * kStackSize; }
char* stack_begin(int i) { return stacks + kGuard + i * kStackSize; }
char* stack_begin(const Thread& thread) { return stack_begin(int(&thread - all)); }
size_t& canary(const Thread& thread) { return *reinterpret_cast<size_t*>(stack_begin(thread)); }

void thread_main() {
  try {
    thread_body();
  } catch (const std::bad_alloc&) {  // of the runtime; no kernel allocates
    report_no_memory();
  }
  end_current_thread();
}

}  // namespace

bool Site::operator==(const Site& other) const {
  return line == other.line && operation == other.operation && size == other.size &&
         (file == other.file || strcmp(file, other.file) == 0);
}

Stacks::Stacks(int threads) {
  stack_count = threads + 1;
  void* const mapped =
      mmap(nullptr, mapping_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  stacks = mapped == MAP_FAILED ? nullptr : static_cast<char*>(mapped);
  if (!stacks) {
    report(Severity::fatal, "no memory for the threads' stacks");
    return;
  }
  mprotect(stacks, kGuard, PROT_NONE);
}

Stacks::~Stacks() {
  if (stacks) munmap(stacks, mapping_size());
  stacks = nullptr;
}

void set_thread_count(int count) { thread_count = count; }
std::span<Thread> threads() { return {all, size_t(thread_count)}; }
Thread* current_thread() { return running; }

void start(Thread& thread, void (*body)()) {
  thread_body = body;
  canary(thread) = kCanary;
  thread.stack_pointer = prepare_stack(stack_begin(thread) + kStackSize, thread_main);
  thread.state = State::runnable;
}

void resume(Thread& thread) {
  running = &thread;
  switch_stack(&scheduler_stack_pointer, thread.stack_pointer);
  running = nullptr;
  if (canary(thread) != kCanary) report(Severity::fatal, format("stack overflow (%zu bytes per thread)", kStackSize));
}

void wait() { switch_stack(&running->stack_pointer, scheduler_stack_pointer); }

void end_current_thread() {
  running->state = State::done;
  wait();
  __builtin_unreachable();
}

void fail(const std::string& text, const std::string& details) {
  report(Severity::fatal, text + " in " + describe(*running), details);
  end_current_thread();
}

bool on_current_stack(const void* address, size_t size) {
  const char *p = static_cast<const char*>(address), *begin = stack_begin(*running);
  return p >= begin && p + size <= begin + kStackSize;
}

bool near_current_stack_end(const void* address) {
  const char *p = static_cast<const char*>(address), *begin = stack_begin(*running);
  return p >= begin - kGuard && p < begin;
}

char* spare_stack_end() { return stack_begin(stack_count); }

std::string describe(const Thread& thread) {
  const auto &p = thread.identity.v[MSL_POS_TG], &g = thread.identity.v[MSL_TG_POS];
  return format("thread (%u,%u,%u) of threadgroup (%u,%u,%u)", p[0], p[1], p[2], g[0], g[1], g[2]);
}

}  // namespace simulator
