// <metal_atomic>. Fibers never run at the same time; the compiler's atomic builtins only tell the checks that these
// accesses do not race.
#pragma once

namespace metal {
namespace detail {
template <class T>
inline T* address(const volatile atomic<T>* object) {
  return const_cast<T*>(&object->v);
}
}  // namespace detail

template <class T>
inline T atomic_load_explicit(const volatile atomic<T>* object, memory_order) {
  T value;
  __atomic_load(detail::address(object), &value, __ATOMIC_RELAXED);
  return value;
}
template <class T>
inline void atomic_store_explicit(volatile atomic<T>* object, detail::identity_t<T> desired, memory_order) {
  __atomic_store(detail::address(object), &desired, __ATOMIC_RELAXED);
}
template <class T>
inline T atomic_exchange_explicit(volatile atomic<T>* object, detail::identity_t<T> desired, memory_order) {
  T previous;
  __atomic_exchange(detail::address(object), &desired, &previous, __ATOMIC_RELAXED);
  return previous;
}
template <class T>
inline bool atomic_compare_exchange_weak_explicit(volatile atomic<T>* object, T* expected,
                                                  detail::identity_t<T> desired, memory_order, memory_order) {
  return __atomic_compare_exchange(detail::address(object), expected, &desired, true, __ATOMIC_RELAXED,
                                   __ATOMIC_RELAXED);
}

#define MSL_ATOMIC_FETCH(name, expression)                                                                            \
  template <class T>                                                                                                  \
  inline T atomic_fetch_##name##_explicit(volatile atomic<T>* object, detail::identity_t<T> b, memory_order) {        \
    T a, desired;                                                                                                     \
    __atomic_load(detail::address(object), &a, __ATOMIC_RELAXED);                                                     \
    do desired = T(expression);                                                                                       \
    while (                                                                                                           \
        !__atomic_compare_exchange(detail::address(object), &a, &desired, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)); \
    return a;                                                                                                         \
  }
MSL_ATOMIC_FETCH(add, a + b)
MSL_ATOMIC_FETCH(sub, a - b)
MSL_ATOMIC_FETCH(min, metal::min(a, b))
MSL_ATOMIC_FETCH(max, metal::max(a, b))
MSL_ATOMIC_FETCH(and, a& b)
MSL_ATOMIC_FETCH(or, a | b)
MSL_ATOMIC_FETCH(xor, a ^ b)
#undef MSL_ATOMIC_FETCH
}  // namespace metal
