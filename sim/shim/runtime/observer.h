// What a launch does, told to whoever watches: the memory check (checked/) in a build with check=True, the counters
// (counted/) in one with count=True. Other builds have no observer.
#pragma once
#include <cstddef>
#include <cstdint>

#include "../sim_abi.h"

namespace simulator::observer {

#ifdef MSL_OBSERVED
void begin_launch();
void add_buffer(char* data, size_t size, bool is_value);  // is_value: bytes that setBytes would copy
void forget_buffers();
void begin_threadgroup(char* arena, size_t size);
void add_threadgroup_variable(char* data, size_t size);
void threadgroup_barrier(uint32_t mem_flags, int simdgroups);
// All active lanes of a SIMD-group have posted values of `size` bytes; mem_flags are a barrier's.
void simdgroup_operation(int simdgroup, MslOp operation, uint32_t size, uint32_t mem_flags);
#else
inline void begin_launch() {}
inline void add_buffer(char*, size_t, bool) {}
inline void forget_buffers() {}
inline void begin_threadgroup(char*, size_t) {}
inline void add_threadgroup_variable(char*, size_t) {}
inline void threadgroup_barrier(uint32_t, int) {}
inline void simdgroup_operation(int, MslOp, uint32_t, uint32_t) {}
#endif

}  // namespace simulator::observer
