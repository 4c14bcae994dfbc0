// Barriers and fences. CUDA's order all memory, whatever the flags.
#pragma once

// Which of a SIMD-group's lanes a thread of a warp is. Where there are matrices, Apple's layout of an 8x8 matrix is
// that of tensor cores, but for the order of the lanes (matrix_product.h): so the lanes are taken in that order.
//
//     bits of a lane          4 3 2 1 0
//     of the warp's thread    4 2 1 3 0
#ifdef MSL_MATRICES
__device__ constexpr uint msl_lane_of(uint thread) { return (thread & 0x11) | (thread & 0xc) >> 1 | (thread & 2) << 2; }
__device__ constexpr uint msl_thread_of(uint lane) { return (lane & 0x11) | (lane & 6) << 1 | (lane & 8) >> 2; }
#else
__device__ constexpr uint msl_lane_of(uint thread) { return thread; }
__device__ constexpr uint msl_thread_of(uint lane) { return lane; }
#endif

__device__ inline uint msl_thread_index() {
  const uint thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  return (thread & ~31u) | msl_lane_of(thread & 31);
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
