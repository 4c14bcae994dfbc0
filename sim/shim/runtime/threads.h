// The threads of a threadgroup, each a fiber with its own stack.
#pragma once
#include <cstddef>
#include <span>
#include <string>

#include "../sim_abi.h"

namespace simulator {

constexpr int kMaximumThreads = 1024;
// Not a power of two, so that the stacks' tops spread over the sets of a cache.
constexpr size_t kStackSize = (256 << 10) + 17 * 64;

struct Site {
  const char* file;
  uint32_t line;
  MslOp operation;
  uint32_t size;  // of the value posted
  bool operator==(const Site& other) const;
};

enum class State : uint8_t { runnable, at_simd_operation, at_barrier, done };

struct Thread {
  void* stack_pointer;
  State state;
  Site site;           // where it waits,
  const void* value;   // with what value for a SIMD-group operation,
  uint32_t mem_flags;  // or with what flags for a barrier
  MslThread identity;
};

class Stacks {  // exist while a launch runs
 public:
  explicit Stacks(int threads);
  ~Stacks();
  Stacks(const Stacks&) = delete;
};

void set_thread_count(int count);
std::span<Thread> threads();  // of the threadgroup that runs
Thread* current_thread();     // null: the scheduler or the host runs

void start(Thread& thread, void (*body)());  // makes it runnable from the body's beginning
void resume(Thread& thread);                 // until it waits or is done
void wait();                                 // called by a thread: gives control back to the scheduler
[[noreturn]] void end_current_thread();
[[noreturn]] void fail(const std::string& text, const std::string& details = "");  // a fatal finding in a thread

bool on_current_stack(const void* address, size_t size);
bool near_current_stack_end(const void* address);
char* spare_stack_end();  // of a stack that no thread uses
std::string describe(const Thread& thread);

}  // namespace simulator
