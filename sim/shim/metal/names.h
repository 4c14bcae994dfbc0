// Names of the vector and atomic types, visible with and without metal::.
#pragma once
#ifdef MSL_CUDA
#define MSL_GLOBAL ::mtl
#else
#define MSL_GLOBAL
#endif

#define MSL_SCALAR_NAME(T) \
  namespace metal {        \
  using MSL_GLOBAL::T;     \
  }
MSL_SCALAR_NAME(as_type)
MSL_SCALAR_NAME(bfloat)
MSL_SCALAR_NAME(half)
MSL_SCALAR_NAME(uchar)
MSL_SCALAR_NAME(uint)
MSL_SCALAR_NAME(ulong)
MSL_SCALAR_NAME(ushort)

#define MSL_VECTOR_NAME(T, N)                    \
  typedef metal::vec<T, N> T##N;                 \
  typedef metal::packed_vec<T, N> packed_##T##N; \
  namespace metal {                              \
  using MSL_GLOBAL::T##N;                        \
  using MSL_GLOBAL::packed_##T##N;               \
  }
#define MSL_VECTOR_NAMES(T) \
  MSL_VECTOR_NAME(T, 2)     \
  MSL_VECTOR_NAME(T, 3)     \
  MSL_VECTOR_NAME(T, 4)
MSL_VECTOR_NAMES(bool)
MSL_VECTOR_NAMES(char)
MSL_VECTOR_NAMES(uchar)
MSL_VECTOR_NAMES(short)
MSL_VECTOR_NAMES(ushort)
MSL_VECTOR_NAMES(int)
MSL_VECTOR_NAMES(uint)
MSL_VECTOR_NAMES(long)
MSL_VECTOR_NAMES(ulong)
MSL_VECTOR_NAMES(half)
MSL_VECTOR_NAMES(bfloat)
MSL_VECTOR_NAMES(float)

#define MSL_ATOMIC_NAME(T)             \
  typedef metal::atomic<T> atomic_##T; \
  namespace metal {                    \
  using MSL_GLOBAL::atomic_##T;        \
  }
MSL_ATOMIC_NAME(bool)
MSL_ATOMIC_NAME(float)
MSL_ATOMIC_NAME(int)
MSL_ATOMIC_NAME(uint)
MSL_ATOMIC_NAME(ulong)
#undef MSL_ATOMIC_NAME
#undef MSL_VECTOR_NAMES
#undef MSL_VECTOR_NAME
#undef MSL_SCALAR_NAME
#undef MSL_GLOBAL
