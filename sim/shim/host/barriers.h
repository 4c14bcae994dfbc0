// Barriers and fences.
#pragma once

namespace metal {
inline void threadgroup_barrier(mem_flags flags, detail::Site site = detail::Site::current()) {
  msl_rt_barrier(uint32_t(flags), site.file, site.line);
}
inline void threadgroup_barrier(mem_flags flags, thread_scope, detail::Site site = detail::Site::current()) {
  msl_rt_barrier(uint32_t(flags), site.file, site.line);
}
inline void simdgroup_barrier(mem_flags flags, detail::Site site = detail::Site::current()) {
  msl_rt_simd(&flags, sizeof flags, MSL_OP_BARRIER, site.file, site.line);
}
// Fibers run one at a time, so only the compiler must keep the order.
inline void atomic_thread_fence(mem_flags, memory_order, thread_scope = thread_scope_device) {
  asm volatile("" ::: "memory");
}
}  // namespace metal
