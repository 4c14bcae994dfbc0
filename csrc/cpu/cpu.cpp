// Chooses the instruction set once, at run time.
#include "cpu/cpu.h"

#include <cstdlib>
#include <cstring>

#include "cpu/kernels/kernels.h"

namespace fusedops::cpu {

namespace {

struct Candidate {
  const Kernels& kernels;
  bool supported;
};

// The best that this CPU has, or what FUSEDOPS_INSTRUCTION_SET names if the CPU has it (for tests).
const Kernels& choose() {
  const Candidate candidates[] = {
#if defined(__x86_64__)
      {avx512_bf16::kernels, __builtin_cpu_supports("x86-64-v4") && __builtin_cpu_supports("avx512bf16")},
      {avx512::kernels, !!__builtin_cpu_supports("x86-64-v4")},
      {avx2::kernels, !!__builtin_cpu_supports("x86-64-v3")},
#endif
      {baseline::kernels, true},
      {scalar::kernels, true},
  };
  const char* wanted = std::getenv("FUSEDOPS_INSTRUCTION_SET");
  for (const Candidate& candidate : candidates)
    if (candidate.supported && (!wanted || std::strcmp(wanted, candidate.kernels.name) == 0)) return candidate.kernels;
  return baseline::kernels;
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

void rms_norm(const RmsNormProblem& problem, const RmsNormBuffers& buffers, Executor& executor) {
  kernels().rms_norm(problem, buffers, executor);
}

void gelu(const GeluProblem& problem, const GeluBuffers& buffers, Executor& executor) {
  kernels().gelu(problem, buffers, executor);
}

void geglu(const GegluProblem& problem, const GegluBuffers& buffers, Executor& executor) {
  if (!problem.packed) return kernels().geglu(problem, buffers, executor);
  GegluBuffers halves = buffers;
  halves.up = packed_up(buffers.gate, problem.shape.back());
  kernels().geglu(problem, halves, executor);
}

void rms_norm_backward(const RmsNormProblem& problem, const RmsNormBackwardBuffers& buffers, Executor& executor) {
  kernels().rms_norm_backward(problem, buffers, executor);
}

void gelu_backward(const GeluProblem& problem, const GeluBackwardBuffers& buffers, Executor& executor) {
  kernels().gelu_backward(problem, buffers, executor);
}

void geglu_backward(const GegluProblem& problem, const GegluBackwardBuffers& buffers, Executor& executor) {
  kernels().geglu_backward(problem, buffers, executor);
}

void sdpa(const SdpaProblem& problem, const SdpaBuffers& buffers, Executor& executor) {
  kernels().sdpa(problem, buffers, executor);
}

const char* instruction_set() {
  if (&kernels() != &baseline::kernels) return kernels().name;
#if defined(__aarch64__)
  return "neon";
#elif defined(__x86_64__)
  return "sse2";
#else
  return "generic";
#endif
}

}  // namespace fusedops::cpu
