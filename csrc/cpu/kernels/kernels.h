// The kernels of one instruction set.
#pragma once

#include "cpu/cpu.h"

namespace fusedops::cpu {

struct Kernels {
  const char* name;
  void (*rms_norm)(const RmsNormProblem&, const RmsNormBuffers&, Executor&);
  void (*rms_norm_backward)(const RmsNormProblem&, const RmsNormBackwardBuffers&, Executor&);
  void (*gelu)(const GeluProblem&, const GeluBuffers&, Executor&);
  void (*gelu_backward)(const GeluProblem&, const GeluBackwardBuffers&, Executor&);
  void (*geglu)(const GegluProblem&, const GegluBuffers&, Executor&);
  void (*geglu_backward)(const GegluProblem&, const GegluBackwardBuffers&, Executor&);
  void (*sdpa)(const SdpaProblem&, const SdpaBuffers&, Executor&);
  double (*multiply_add)(int64_t iterations);                       // returns the floating-point operations done
  void (*copy)(const float* source, float* target, int64_t count);  // count: a multiple of 16
};

#define FUSEDOPS_DECLARE_KERNELS(isa)                                                                       \
  namespace isa {                                                                                           \
  void rms_norm(const RmsNormProblem&, const RmsNormBuffers&, Executor&);                                   \
  void rms_norm_backward(const RmsNormProblem&, const RmsNormBackwardBuffers&, Executor&);                  \
  void gelu(const GeluProblem&, const GeluBuffers&, Executor&);                                             \
  void gelu_backward(const GeluProblem&, const GeluBackwardBuffers&, Executor&);                            \
  void geglu(const GegluProblem&, const GegluBuffers&, Executor&);                                          \
  void geglu_backward(const GegluProblem&, const GegluBackwardBuffers&, Executor&);                         \
  void sdpa(const SdpaProblem&, const SdpaBuffers&, Executor&);                                             \
  double multiply_add(int64_t iterations);                                                                  \
  void copy(const float* source, float* target, int64_t count);                                             \
  inline constexpr Kernels kernels{#isa,           rms_norm, rms_norm_backward, gelu, gelu_backward, geglu, \
                                   geglu_backward, sdpa,     multiply_add,      copy};                      \
  }

FUSEDOPS_DECLARE_KERNELS(scalar)
FUSEDOPS_DECLARE_KERNELS(baseline)
FUSEDOPS_DECLARE_KERNELS(avx2)
FUSEDOPS_DECLARE_KERNELS(avx512)
FUSEDOPS_DECLARE_KERNELS(avx512_bf16)
#undef FUSEDOPS_DECLARE_KERNELS

const Kernels& kernels();  // those of this machine

}  // namespace fusedops::cpu
