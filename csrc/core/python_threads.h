// Computing beside Python's interpreter: its lock, and its signals.
#pragma once

#include <nanobind/nanobind.h>
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#if defined(__GLIBC__)
#include <cxxabi.h>
#endif

#include "cpu/interruption.h"

namespace fusedops {

// While it lives, other Python threads can run.
class ReleasedGil {
 public:
  ReleasedGil() : state_(PyEval_SaveThread()) {}
  // A daemon thread may ask for the lock when the interpreter has ended. Python up to 3.13 then ends the thread by
  // unwinding all its frames, of which C++ does not let it pass destructors and functions that are noexcept. Such a
  // thread sleeps until the process ends instead, as it does from Python 3.14 on.
  ~ReleasedGil() {
#if defined(__GLIBC__)
    try {
      PyEval_RestoreThread(state_);
    } catch (const abi::__forced_unwind&) {
      for (;;) pause();
    }
#else
    PyEval_RestoreThread(state_);
#endif
  }
  ReleasedGil(const ReleasedGil&) = delete;
  ReleasedGil& operator=(const ReleasedGil&) = delete;

 private:
  PyThreadState* state_;
};

// The thread in which Python handles signals; no other one needs to look for them.
inline std::atomic<unsigned long> main_thread{0};

// Has `check` called every now and then while Python's main thread computes, with or without the GIL. It throws where a
// signal's handler has raised an exception. To be called once.
template <void (*check)()>
void let_signals_interrupt() {
  const auto thread = nanobind::module_::import_("threading").attr("main_thread")();
  main_thread = nanobind::cast<unsigned long>(thread.attr("ident"));
  pthread_atfork(nullptr, nullptr, [] { main_thread = PyThread_get_thread_ident(); });
  cpu::set_interruption_check([] {
    if (PyThread_get_thread_ident() == main_thread) check();
  });
}

}  // namespace fusedops
