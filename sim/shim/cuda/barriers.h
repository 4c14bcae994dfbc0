// Barriers and fences. CUDA's order all memory, whatever the flags.
#pragma once

__device__ inline uint msl_thread_index() {
  return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
}
__device__ inline uint msl_rt_lane() { return msl_thread_index() & 31; }

namespace metal {
__device__ inline void threadgroup_barrier(mem_flags) { __syncthreads(); }
__device__ inline void threadgroup_barrier(mem_flags, thread_scope) { __syncthreads(); }
__device__ inline void simdgroup_barrier(mem_flags) { __syncwarp(); }
__device__ inline void atomic_thread_fence(mem_flags, memory_order, thread_scope = thread_scope_device) {
  __threadfence();
}
}  // namespace metal
