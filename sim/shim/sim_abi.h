// Contract between a translated kernel (metal_sim.h) and the simulator's runtime (runtime/).
#pragma once
#include <cstddef>
#include <cstdint>

#include "metal/kernel_parameters.h"

constexpr int kMslBuffers = 31;  // Metal's limit of buffer and threadgroup arguments

struct MslThread {  // what a thread knows about itself: a value for each MslKind from MSL_POS_GRID on
  uint32_t v[MSL_KINDS][3];
};
struct MslParam {
  MslKind kind;
  int index;
  const bool* cond;  // the function constant that enables the parameter, or null
  const char* name;
};
struct MslLaunch {
  void* buf[kMslBuffers];
  void* tgmem[kMslBuffers];
};
using MslEntry = void (*)(const MslLaunch&, const MslThread&, const MslParam*);

// What the library tells library.py about itself.
struct MslKernel {
  const char* name;
  MslEntry entry;
  const MslParam* parameters;
  const bool* may_write;  // for each parameter: whether it points to what is not const
  uint32_t count;         // of parameters
};
struct MslConstant {
  const char* name;
  int index;  // negative: computed by init
  void* value;
  size_t size;
  bool* defined;
  void (*init)();
};

struct MslTgSlot {  // one for each `threadgroup T x[N]` of a kernel
  uint64_t epoch;   // the threadgroup for which ptr was allocated
  void* ptr;
};

enum MslOp : uint32_t {
  MSL_OP_BARRIER,
  MSL_OP_REDUCE,
  MSL_OP_SHUFFLE,
  MSL_OP_VOTE,
  MSL_OP_MULTIPLY,
  MSL_OP_MATRIX_LOAD,
  MSL_OP_MATRIX_STORE,
};
struct MslLanes {  // the values that the lanes of a SIMD-group posted at one rendezvous
  const void* values;
  uint32_t active;  // a bit for each lane that took part
  uint32_t lane;    // the caller's
};

constexpr uint32_t kMslLaneBytes = 64;  // the most that a lane can post

extern "C" {
void msl_register();  // the translation's one function for the runtime, which calls the next two for all it has
void msl_rt_kernel(const MslKernel* kernel);
void msl_rt_constant(const MslConstant* constant);
// Storage of a threadgroup variable, the same for all threads of a threadgroup.
void* msl_rt_tg(MslTgSlot* slot, size_t size, size_t align);
// Waits until all live lanes of the SIMD-group have posted a value at the same place.
MslLanes msl_rt_simd(const void* value, uint32_t size, MslOp operation, const char* file, uint32_t line);
void msl_rt_barrier(uint32_t mem_flags, const char* file, uint32_t line);
uint32_t msl_rt_lane();
void msl_rt_warn(const char* what, const char* file, uint32_t line);
void msl_rt_exponential();  // a thread calls exp, exp2 or exp10; told in builds that count
}
