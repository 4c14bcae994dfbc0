// How a call ends before its work is done: one of its tasks has failed, or its caller is interrupted.
#pragma once

#include <atomic>

namespace fusedops::cpu {

// Set once by a module whose callers can be interrupted. Called every now and then in the thread that called an
// operator; it throws to end the call. Null: calls are not interrupted.
using InterruptionCheck = void (*)();
void set_interruption_check(InterruptionCheck check);

// Throws where the work that this thread does need not go on. Cheap: kernels call it between pieces of work that take
// a few milliseconds at most.
void interruption_point();

// Thrown in a thread whose share is not wanted any more, because that of another one has failed.
struct Unwanted {};

// While it lives, this thread does its share of a call's tasks.
class Share {
 public:
  // `failed` is set when any of the call's tasks has failed. Only its caller's own thread can be interrupted.
  Share(const std::atomic<bool>& failed, bool is_callers) noexcept;
  ~Share();
  Share(const Share&) = delete;
  Share& operator=(const Share&) = delete;

 private:
  friend void interruption_point();

  const std::atomic<bool>& failed_;
  const bool is_callers_;
  const Share* const outer_;  // what handles an interruption may itself compute
};

}  // namespace fusedops::cpu
