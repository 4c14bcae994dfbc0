#include "faults.h"

#include <pthread.h>
#include <sched.h>
#include <sys/time.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <iterator>
#include <new>

#include "buffers.h"
#include "platform.h"
#include "report.h"
#include "threads.h"

namespace simulator {
namespace {

constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGVTALRM};
constexpr double kPatience = 0.1;  // seconds of processor time between two alarms
struct sigaction previous[std::size(kSignals)], previous_interrupt;
stack_t previous_signal_stack;
char signal_stack[64 << 10];
pthread_t host_thread;

int fault_signal;
const char* fault_address;
enum Stop : sig_atomic_t { none, time_limit, interrupted };
volatile sig_atomic_t asked_to_stop;
std::atomic<bool> launching;
std::atomic<int> interrupts;  // that are being handled, maybe in another thread

const char* reason() { return asked_to_stop == interrupted ? "interrupted" : "time limit"; }

void restore_handlers() {
  for (size_t i = 0; i < std::size(kSignals); i++) sigaction(kSignals[i], &previous[i], nullptr);
}

void set_timer(double first, double next) {
  const auto interval = [](double seconds) {
    const auto microseconds = int64_t(seconds * 1e6) + (seconds > 0);  // never none: that would mean no alarm
    return timeval{time_t(microseconds / 1000000), suseconds_t(microseconds % 1000000)};
  };
  const itimerval timer{interval(next), interval(first)};
  setitimer(ITIMER_VIRTUAL, &timer, nullptr);
}

[[noreturn]] void fail_for_fault() {
  if (fault_signal == SIGVTALRM) fail(reason());
  if (fault_signal == SIGFPE) fail("integer division by zero");
  if (fault_signal == SIGILL) fail("undefined behaviour");
  if (near_current_stack_end(fault_address)) fail(format("stack overflow (%zu bytes per thread)", kStackSize));
  const bool null = reinterpret_cast<uintptr_t>(fault_address) < page_size();
  fail("bad memory access", null ? ": null or wild pointer" : describe_place(fault_address));
}

void report_fault() {  // runs as the faulting thread, on the spare stack
  try {
    fail_for_fault();
  } catch (const std::bad_alloc&) {
    report_no_memory();
    end_current_thread();
  }
}

// The first alarm asks, so that a thread inside the runtime is not torn out of it; a later one finds a thread that does
// not answer, hence is in the kernel's own code.
void on_alarm(void* context) {
  if (!pthread_equal(pthread_self(), host_thread)) {
    pthread_kill(host_thread, SIGVTALRM);
    return;
  }
  if (asked_to_stop && current_thread()) {
    fault_signal = SIGVTALRM;
    resume_in(context, report_fault, spare_stack_end());
  }
  if (!asked_to_stop) asked_to_stop = time_limit;
}

// Ctrl-C, in whatever thread: the host's own handler notes it (Python's raises KeyboardInterrupt once the launch has
// ended), and the launch is asked to end.
void on_interrupt(int signal, siginfo_t* info, void* context) {
  interrupts++;
  if (previous_interrupt.sa_flags & SA_SIGINFO)
    previous_interrupt.sa_sigaction(signal, info, context);
  else
    previous_interrupt.sa_handler(signal);
  if (launching) {
    asked_to_stop = interrupted;
    set_timer(kPatience, kPatience);
  }
  interrupts--;
}

bool has_handler(const struct sigaction& action) {
  return (action.sa_flags & SA_SIGINFO) || (action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN);
}

// Only where the host handles it: else it ends the process, or nothing.
void catch_interrupt(struct sigaction action) {
  action.sa_sigaction = on_interrupt;
  sigaction(SIGINT, nullptr, &previous_interrupt);
  if (has_handler(previous_interrupt)) sigaction(SIGINT, &action, nullptr);
}

void restore_interrupt() {
  struct sigaction current;
  sigaction(SIGINT, nullptr, &current);
  const bool is_ours = (current.sa_flags & SA_SIGINFO) && current.sa_sigaction == on_interrupt;
  if (is_ours) sigaction(SIGINT, &previous_interrupt, nullptr);  // else another thread has set one meanwhile
}

void on_signal(int signal, siginfo_t* info, void* context) {
  if (signal == SIGVTALRM) return on_alarm(context);
  if (!pthread_equal(pthread_self(), host_thread) || !current_thread()) return restore_handlers();  // not ours: recurs
  fault_signal = signal;
  fault_address = static_cast<const char*>(info->si_addr);
  resume_in(context, report_fault, spare_stack_end());
}

}  // namespace

FaultsCaught::FaultsCaught(double seconds) {
  host_thread = pthread_self();
  asked_to_stop = none;
  stack_t stack{};
  stack.ss_sp = signal_stack;
  stack.ss_size = sizeof signal_stack;
  sigaltstack(&stack, &previous_signal_stack);
  struct sigaction action{};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (size_t i = 0; i < std::size(kSignals); i++) sigaction(kSignals[i], &action, &previous[i]);
  launching = true;
  catch_interrupt(action);
  if (seconds > 0) set_timer(seconds, kPatience);
}

FaultsCaught::~FaultsCaught() {
  launching = false;
  restore_interrupt();
  while (interrupts) sched_yield();  // lest one sets the timer after this
  set_timer(0, 0);
  restore_handlers();
  sigaltstack(&previous_signal_stack, nullptr);
}

void heed_stop() {
  if (asked_to_stop) report(Severity::fatal, reason());
}

void heed_stop_in_thread() {
  heed_stop();
  if (must_stop()) end_current_thread();
}

}  // namespace simulator
