#include "cpu/pages.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace fusedops::cpu {

#if defined(__linux__)

void prepare_output(void* data, int64_t bytes) {
  constexpr uintptr_t huge_page = uintptr_t{1} << 21;
  constexpr int64_t large = 2 * huge_page;  // surely holds a whole one
  if (bytes < large) return;
  const auto address = reinterpret_cast<uintptr_t>(data);
  const uintptr_t first = (address + huge_page - 1) / huge_page * huge_page;
  const uintptr_t last = (address + static_cast<uintptr_t>(bytes)) / huge_page * huge_page;
  // Advice only: where it is not taken, pages are small.
  madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
}

#else

void prepare_output(void*, int64_t) {}

#endif

}  // namespace fusedops::cpu
