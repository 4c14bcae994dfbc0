// The checks of every memory access; empty unless the kernel was built with check=True.
#pragma once
#include <cstddef>
#include <cstdint>

namespace simulator::memory_check {

#ifdef MSL_CHECK
void add_buffer(char* data, size_t size);
void forget_buffers();
void begin_threadgroup(char* arena, size_t size);
void add_threadgroup_variable(char* data, size_t size);
void threadgroup_barrier(uint32_t mem_flags);
void simdgroup_barrier(int simdgroup, uint32_t mem_flags);
#else
inline void add_buffer(char*, size_t) {}
inline void forget_buffers() {}
inline void begin_threadgroup(char*, size_t) {}
inline void add_threadgroup_variable(char*, size_t) {}
inline void threadgroup_barrier(uint32_t) {}
inline void simdgroup_barrier(int, uint32_t) {}
#endif

}  // namespace simulator::memory_check
