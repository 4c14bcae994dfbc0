// With -fsanitize=thread the compiler puts a call before every memory access. These are those calls, in place of
// libtsan.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "memory_access.h"

using simulator::observer::Access;
using simulator::observer::note_access;

#define PC __builtin_return_address(0)

extern "C" {

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}

#define PLAIN_ACCESSES(prefix, size)                                                    \
  void __tsan_##prefix##read##size(void* p) { note_access(p, size, Access::read, PC); } \
  void __tsan_##prefix##write##size(void* p) { note_access(p, size, Access::write, PC); }
#define ACCESSES(size)             \
  PLAIN_ACCESSES(, size)           \
  PLAIN_ACCESSES(unaligned_, size) \
  PLAIN_ACCESSES(volatile_, size)  \
  PLAIN_ACCESSES(unaligned_volatile_, size)
ACCESSES(1)
ACCESSES(2)
ACCESSES(4)
ACCESSES(8)
ACCESSES(16)

void __tsan_read_range(void* p, size_t size) { note_access(p, size, Access::read, PC); }
void __tsan_write_range(void* p, size_t size) { note_access(p, size, Access::write, PC); }

// clang calls these instead of the C functions.
void* __tsan_memcpy(void* to, const void* from, size_t size) {
  note_access(from, size, Access::read, PC);
  note_access(to, size, Access::write, PC);
  return memcpy(to, from, size);
}
void* __tsan_memmove(void* to, const void* from, size_t size) {
  note_access(from, size, Access::read, PC);
  note_access(to, size, Access::write, PC);
  return memmove(to, from, size);
}
void* __tsan_memset(void* to, int value, size_t size) {
  note_access(to, size, Access::write, PC);
  return memset(to, value, size);
}

#define ATOMIC_ACCESSES(bits, T)                                                                   \
  T __tsan_atomic##bits##_load(const T* p, int) {                                                  \
    note_access(p, sizeof(T), Access::atomic_read, PC);                                            \
    return __atomic_load_n(p, __ATOMIC_RELAXED);                                                   \
  }                                                                                                \
  void __tsan_atomic##bits##_store(T* p, T x, int) {                                               \
    note_access(p, sizeof(T), Access::atomic_write, PC);                                           \
    __atomic_store_n(p, x, __ATOMIC_RELAXED);                                                      \
  }                                                                                                \
  T __tsan_atomic##bits##_exchange(T* p, T x, int) {                                               \
    note_access(p, sizeof(T), Access::atomic_read, PC);                                            \
    note_access(p, sizeof(T), Access::atomic_write, PC);                                           \
    return __atomic_exchange_n(p, x, __ATOMIC_RELAXED);                                            \
  }                                                                                                \
  bool __tsan_atomic##bits##_compare_exchange_strong(T* p, T* expected, T x, int, int) {           \
    note_access(p, sizeof(T), Access::atomic_write, PC);                                           \
    return __atomic_compare_exchange_n(p, expected, x, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED); \
  }                                                                                                \
  bool __tsan_atomic##bits##_compare_exchange_weak(T* p, T* expected, T x, int a, int b) {         \
    return __tsan_atomic##bits##_compare_exchange_strong(p, expected, x, a, b);                    \
  }                                                                                                \
  T __tsan_atomic##bits##_compare_exchange_val(T* p, T expected, T x, int a, int b) {              \
    __tsan_atomic##bits##_compare_exchange_strong(p, &expected, x, a, b);                          \
    return expected;                                                                               \
  }
ATOMIC_ACCESSES(8, uint8_t)
ATOMIC_ACCESSES(16, uint16_t)
ATOMIC_ACCESSES(32, uint32_t)
ATOMIC_ACCESSES(64, uint64_t)

}  // extern "C"
