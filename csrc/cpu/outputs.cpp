#include "cpu/outputs.h"

#include <cstdio>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace fusedops::cpu {
namespace {

#if defined(__linux__)
// Of the caches that the first CPU uses, as the kernel tells: sysconf() counts those of other CPUs, too.
int64_t kibibytes_of_cache(int index) {
  char path[64];
  std::snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", index);
  std::FILE* file = std::fopen(path, "r");
  if (!file) return 0;
  long kibibytes = 0;
  if (std::fscanf(file, "%ldK", &kibibytes) != 1) kibibytes = 0;
  std::fclose(file);
  return kibibytes;
}

int64_t last_level_cache() {
  int64_t largest = 0;
  for (int index = 0; const int64_t kibibytes = kibibytes_of_cache(index); ++index)
    if (kibibytes > largest) largest = kibibytes;
  constexpr int64_t usual = int64_t{32} << 20;
  return largest ? largest << 10 : usual;
}

}  // namespace

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

int64_t last_level_cache() { return int64_t{32} << 20; }

}  // namespace

void prepare_output(void*, int64_t) {}

#endif

bool write_past_caches(int64_t moved_bytes) {
  static const int64_t cache = last_level_cache();
  return moved_bytes >= cache;
}

}  // namespace fusedops::cpu
