#include "cpu/interruption.h"

#include <chrono>

namespace fusedops::cpu {
namespace {

using Clock = std::chrono::steady_clock;

// The check may have to wait for other threads of the caller's program.
constexpr auto kInterval = std::chrono::milliseconds(50);

InterruptionCheck interruption_check = nullptr;
thread_local const Share* share = nullptr;  // null: the thread works alone
thread_local Clock::time_point next_check;

}  // namespace

void set_interruption_check(InterruptionCheck check) { interruption_check = check; }

void interruption_point() {
  if (share && share->failed_.load(std::memory_order_relaxed)) throw Unwanted();
  if (!interruption_check || (share && !share->is_callers_)) return;
  const auto now = Clock::now();
  if (now < next_check) return;
  next_check = now + kInterval;
  interruption_check();
}

Share::Share(const std::atomic<bool>& failed, bool is_callers) noexcept
    : failed_(failed), is_callers_(is_callers), outer_(share) {
  share = this;
}

Share::~Share() { share = outer_; }

}  // namespace fusedops::cpu
