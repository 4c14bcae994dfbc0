// The kernels of one instruction set.
#pragma once

#include <vector>

#include "cpu/cpu.h"

namespace fusedops::cpu {

struct SdpaCall;

struct Kernels {
  const char* name;
  void (*rms_norm)(const RmsNormProblem&, const RmsNormBuffers&, Executor&);
  void (*rms_norm_backward)(const RmsNormProblem&, const RmsNormBackwardBuffers&, Executor&);
  void (*gelu)(const GeluProblem&, const GeluBuffers&, Executor&);
  void (*gelu_backward)(const GeluProblem&, const GeluBackwardBuffers&, Executor&);
  void (*geglu)(const GegluProblem&, const GegluBuffers&, Executor&);
  void (*geglu_backward)(const GegluProblem&, const GegluBackwardBuffers&, Executor&);
  void (*sdpa)(const SdpaCall&, Executor&);
  // For tests: elementwise, of `count` elements.
  void (*exp)(const float* x, float* y, int64_t count);
  void (*exp2)(const float* x, float* y, int64_t count);
  void (*tanh)(const float* x, float* y, int64_t count);
  // The limits: these return the floating-point operations done, 0 where the set has no such instruction.
  double (*multiply_add)(int64_t iterations);
  double (*multiply_add_bfloat16)(int64_t iterations);
  // Of arrays that start at a multiple of 64 bytes and hold a multiple of 256 elements.
  void (*copy)(const float* source, float* target, int64_t count);
  void (*copy_past_caches)(const float* source, float* target, int64_t count);
  float (*read)(const float* source, int64_t count);
};

#define FUSEDOPS_DECLARE_KERNELS(isa)                                                                            \
  namespace isa {                                                                                                \
  void rms_norm(const RmsNormProblem&, const RmsNormBuffers&, Executor&);                                        \
  void rms_norm_backward(const RmsNormProblem&, const RmsNormBackwardBuffers&, Executor&);                       \
  void gelu(const GeluProblem&, const GeluBuffers&, Executor&);                                                  \
  void gelu_backward(const GeluProblem&, const GeluBackwardBuffers&, Executor&);                                 \
  void geglu(const GegluProblem&, const GegluBuffers&, Executor&);                                               \
  void geglu_backward(const GegluProblem&, const GegluBackwardBuffers&, Executor&);                              \
  void sdpa(const SdpaCall&, Executor&);                                                                         \
  void exp(const float* x, float* y, int64_t count);                                                             \
  void exp2(const float* x, float* y, int64_t count);                                                            \
  void tanh(const float* x, float* y, int64_t count);                                                            \
  double multiply_add(int64_t iterations);                                                                       \
  double multiply_add_bfloat16(int64_t iterations);                                                              \
  void copy(const float* source, float* target, int64_t count);                                                  \
  void copy_past_caches(const float* source, float* target, int64_t count);                                      \
  float read(const float* source, int64_t count);                                                                \
  inline constexpr Kernels kernels{                                                                              \
      #isa, rms_norm,     rms_norm_backward,     gelu, gelu_backward,    geglu, geglu_backward, sdpa, exp, exp2, \
      tanh, multiply_add, multiply_add_bfloat16, copy, copy_past_caches, read};                                  \
  }

FUSEDOPS_DECLARE_KERNELS(scalar)
FUSEDOPS_DECLARE_KERNELS(baseline)
FUSEDOPS_DECLARE_KERNELS(avx2)
FUSEDOPS_DECLARE_KERNELS(avx512)
FUSEDOPS_DECLARE_KERNELS(avx512_bf16)
FUSEDOPS_DECLARE_KERNELS(amx_bf16)
#undef FUSEDOPS_DECLARE_KERNELS

const Kernels& kernels();                         // those of this machine
std::vector<const Kernels*> supported_kernels();  // all that it can run, the best first
const char* name_of(const Kernels& kernels);      // as instruction_set() says it

}  // namespace fusedops::cpu
