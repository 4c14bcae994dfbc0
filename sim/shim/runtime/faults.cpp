#include "faults.h"

#include <pthread.h>
#include <sys/time.h>

#include <csignal>
#include <cstdint>
#include <iterator>

#include "buffers.h"
#include "platform.h"
#include "report.h"
#include "threads.h"

namespace simulator {
namespace {

constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGVTALRM};
struct sigaction previous[std::size(kSignals)];
stack_t previous_signal_stack;
char signal_stack[64 << 10];
pthread_t host_thread;

int fault_signal;
const char* fault_address;
volatile sig_atomic_t time_is_up;

void restore_handlers() {
  for (size_t i = 0; i < std::size(kSignals); i++) sigaction(kSignals[i], &previous[i], nullptr);
}

void set_timer(double first, double next) {
  const auto interval = [](double seconds) {
    return timeval{time_t(seconds), suseconds_t((seconds - double(time_t(seconds))) * 1e6)};
  };
  const itimerval timer{interval(next), interval(first)};
  setitimer(ITIMER_VIRTUAL, &timer, nullptr);
}

void report_fault() {  // runs as the faulting thread, on the spare stack
  if (fault_signal == SIGVTALRM) fail("time limit");
  if (fault_signal == SIGFPE) fail("integer division by zero");
  if (fault_signal == SIGILL) fail("undefined behaviour");
  if (near_current_stack_end(fault_address)) fail(format("stack overflow (%zu bytes per thread)", kStackSize));
  const bool null = reinterpret_cast<uintptr_t>(fault_address) < page_size();
  fail("bad memory access", null ? ": null or wild pointer" : describe_place(fault_address));
}

// The first alarm asks, so that a thread inside the runtime is not torn out of it; a later one finds a thread that does
// not answer, hence is in the kernel's own code.
void on_alarm(void* context) {
  if (!pthread_equal(pthread_self(), host_thread)) {
    pthread_kill(host_thread, SIGVTALRM);
    return;
  }
  if (time_is_up && current_thread()) {
    fault_signal = SIGVTALRM;
    resume_in(context, report_fault, spare_stack_end());
  }
  time_is_up = 1;
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
  time_is_up = 0;
  stack_t stack{};
  stack.ss_sp = signal_stack;
  stack.ss_size = sizeof signal_stack;
  sigaltstack(&stack, &previous_signal_stack);
  struct sigaction action{};
  action.sa_sigaction = on_signal;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (size_t i = 0; i < std::size(kSignals); i++) sigaction(kSignals[i], &action, &previous[i]);
  if (seconds > 0) set_timer(seconds, 0.1);
}

FaultsCaught::~FaultsCaught() {
  set_timer(0, 0);
  restore_handlers();
  sigaltstack(&previous_signal_stack, nullptr);
}

void check_time_limit() {
  if (time_is_up) report(Severity::fatal, "time limit");
}

}  // namespace simulator
