// Runs one threadgroup at a time. Threads switch only at barriers and SIMD-group operations, so the order in which they
// run between two of those is a free choice.
#pragma once
#include "order.h"

namespace simulator {

// Runs threads(), of which each is at the beginning of `body`, until all are done or a fatal finding.
void run_threadgroup(Order& order, void (*body)());

}  // namespace simulator
