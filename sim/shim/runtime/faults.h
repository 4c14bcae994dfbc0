// Turns faults of simulated threads (bad addresses, endless loops) into findings.
#pragma once

namespace simulator {

class FaultsCaught {  // while it exists, for the calling thread of the host
 public:
  explicit FaultsCaught(double seconds);  // of processor time that the launch may take; 0: no limit
  ~FaultsCaught();
  FaultsCaught(const FaultsCaught&) = delete;
};

// A fatal finding if the launch's time is up or the host was interrupted (Ctrl-C).
void heed_stop();
void heed_stop_in_thread();  // the same in a simulated thread, which ends if the launch cannot go on

}  // namespace simulator
