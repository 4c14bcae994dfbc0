// What a launch passes to a kernel; sim/cuda/library.py fills it.
#pragma once

struct MslArgs {
  void* buf[31];
  unsigned threads[3];  // of the grid
  unsigned tgmem[31];   // byte offsets of [[threadgroup(i)]] parameters in the dynamic shared memory
};
