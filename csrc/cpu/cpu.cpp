// Chooses the instruction set once, at run time.
#include "cpu/cpu.h"

#include <cstdlib>
#include <cstring>
#include <utility>

#include "cpu/amx.h"
#include "cpu/kernels/kernels.h"

namespace fusedops::cpu {

namespace {

// The best that this CPU has, or what FUSEDOPS_INSTRUCTION_SET names if the CPU has it (for tests).
const Kernels& choose() {
  const char* wanted = std::getenv("FUSEDOPS_INSTRUCTION_SET");
  const std::vector<const Kernels*> supported = supported_kernels();
  for (const Kernels* kernels : supported)
    if (wanted && std::strcmp(wanted, kernels->name) == 0) return *kernels;
  return *supported.front();
}

}  // namespace

std::vector<const Kernels*> supported_kernels() {
  std::vector<const Kernels*> supported;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("x86-64-v4")) {
    if (__builtin_cpu_supports("avx512bf16")) {
      if (enable_bfloat16_tiles()) supported.push_back(&amx_bf16::kernels);
      supported.push_back(&avx512_bf16::kernels);
    }
    supported.push_back(&avx512::kernels);
  }
  if (__builtin_cpu_supports("x86-64-v3")) supported.push_back(&avx2::kernels);
#endif
  supported.push_back(&baseline::kernels);
  supported.push_back(&scalar::kernels);
  return supported;
}

const char* name_of(const Kernels& kernels) {
  if (&kernels != &baseline::kernels) return kernels.name;
#if defined(__aarch64__)
  return "neon";
#elif defined(__x86_64__)
  return "sse2";
#else
  return "generic";
#endif
}

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
  GegluHalves halves = geglu_halves(problem, buffers.gate, buffers.up);
  kernels().geglu(problem, {std::move(halves.gate), std::move(halves.up), buffers.y}, executor);
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

const char* instruction_set() { return name_of(kernels()); }

}  // namespace fusedops::cpu
