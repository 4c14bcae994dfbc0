// Turns faults of simulated threads (bad addresses, endless loops) into findings.
#pragma once

namespace simulator {

class FaultsCaught {  // while it exists, for the calling thread of the host
 public:
  explicit FaultsCaught(double seconds);  // of processor time that the launch may take; 0: no limit
  ~FaultsCaught();
  FaultsCaught(const FaultsCaught&) = delete;
};

void check_time_limit();  // a fatal finding if the launch's time is up

}  // namespace simulator
