// <metal_atomic>.
#pragma once

namespace metal {
template <class T>
MSL_FN inline T atomic_load_explicit(const volatile atomic<T>* object, memory_order) {
  return object->v;
}
template <class T>
MSL_FN inline void atomic_store_explicit(volatile atomic<T>* object, detail::identity_t<T> desired, memory_order) {
  object->v = desired;
}
template <class T>
MSL_FN inline bool atomic_compare_exchange_weak_explicit(volatile atomic<T>* object, T* expected,
                                                         detail::identity_t<T> desired, memory_order, memory_order) {
  const T wanted = *expected;
  *expected = ::atomicCAS(const_cast<T*>(&object->v), wanted, desired);
  return *expected == wanted;
}

#define MSL_ATOMIC(name, function)                                                                                    \
  template <class T>                                                                                                  \
  MSL_FN inline T atomic_##name##_explicit(volatile atomic<T>* object, detail::identity_t<T> operand, memory_order) { \
    return ::function(const_cast<T*>(&object->v), operand);                                                           \
  }
MSL_ATOMIC(exchange, atomicExch)
MSL_ATOMIC(fetch_add, atomicAdd)
MSL_ATOMIC(fetch_sub, atomicSub)
MSL_ATOMIC(fetch_min, atomicMin)
MSL_ATOMIC(fetch_max, atomicMax)
MSL_ATOMIC(fetch_and, atomicAnd)
MSL_ATOMIC(fetch_or, atomicOr)
MSL_ATOMIC(fetch_xor, atomicXor)
#undef MSL_ATOMIC
}  // namespace metal
