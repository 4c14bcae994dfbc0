#include "cpu/amx.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace fusedops::cpu {

#if defined(__x86_64__) && defined(__linux__)
bool enable_bfloat16_tiles() {
  constexpr unsigned amx_bf16 = 1u << 22, amx_tile = 1u << 24;
  unsigned eax, ebx, ecx, edx;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || !(edx & amx_bf16) || !(edx & amx_tile)) return false;
  // Linux saves tiles only for a process that asked (https://docs.kernel.org/arch/x86/xstate.html), and refuses if an
  // alternate signal stack is too small for them.
  constexpr int request_permission = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0;
}
#else
bool enable_bfloat16_tiles() { return false; }
#endif

}  // namespace fusedops::cpu
