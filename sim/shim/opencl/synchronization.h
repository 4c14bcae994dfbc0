// Barriers, fences and atomics.
#pragma once
#include "vectors.h"

namespace metal {
enum memory_order { memory_order_relaxed, memory_order_seq_cst };
enum thread_scope { thread_scope_thread, thread_scope_simdgroup, thread_scope_threadgroup, thread_scope_device };
enum class mem_flags : uint { mem_none = 0, mem_device = 1, mem_threadgroup = 2, mem_texture = 4 };
constexpr mem_flags operator|(mem_flags a, mem_flags b) { return mem_flags(uint(a) | uint(b)); }
template <class T>
struct atomic {
  T v;
};
void threadgroup_barrier(mem_flags);
void threadgroup_barrier(mem_flags, thread_scope);
void simdgroup_barrier(mem_flags);
void atomic_thread_fence(mem_flags, memory_order, thread_scope = thread_scope_device);

#define MSL_FOR_SPACE(SPACE)                                                                              \
  template <class T>                                                                                      \
  T atomic_load_explicit(const volatile SPACE atomic<T>*, memory_order);                                  \
  template <class T>                                                                                      \
  void atomic_store_explicit(volatile SPACE atomic<T>*, detail::ident_t<T>, memory_order);                \
  template <class T>                                                                                      \
  T atomic_exchange_explicit(volatile SPACE atomic<T>*, detail::ident_t<T>, memory_order);                \
  template <class T>                                                                                      \
  bool atomic_compare_exchange_weak_explicit(volatile SPACE atomic<T>*, __private T*, detail::ident_t<T>, \
                                             memory_order, memory_order);                                 \
  template <class T>                                                                                      \
  T atomic_fetch_add_explicit(volatile SPACE atomic<T>*, detail::ident_t<T>, memory_order);               \
  template <class T>                                                                                      \
  T atomic_fetch_sub_explicit(volatile SPACE atomic<T>*, detail::ident_t<T>, memory_order);               \
  template <class T>                                                                                      \
  T atomic_fetch_min_explicit(volatile SPACE atomic<T>*, detail::ident_t<T>, memory_order);               \
  template <class T>                                                                                      \
  T atomic_fetch_max_explicit(volatile SPACE atomic<T>*, detail::ident_t<T>, memory_order);               \
  template <class T>                                                                                      \
  T atomic_fetch_and_explicit(volatile SPACE atomic<T>*, detail::ident_t<T>, memory_order);               \
  template <class T>                                                                                      \
  T atomic_fetch_or_explicit(volatile SPACE atomic<T>*, detail::ident_t<T>, memory_order);                \
  template <class T>                                                                                      \
  T atomic_fetch_xor_explicit(volatile SPACE atomic<T>*, detail::ident_t<T>, memory_order);
MSL_FOR_SPACE(__global)
MSL_FOR_SPACE(__local)
#undef MSL_FOR_SPACE
}  // namespace metal
typedef metal::atomic<int> atomic_int;
typedef metal::atomic<uint> atomic_uint;
typedef metal::atomic<float> atomic_float;
typedef metal::atomic<ulong> atomic_ulong;
