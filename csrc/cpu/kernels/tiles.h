// AMX's tile registers: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.
#pragma once

#include "cpu/kernels/simd.h"

namespace fusedops::cpu::FUSEDOPS_ISA {

#if defined(__AMX_BF16__)

inline constexpr bool kHasTiles = true;

// What LDTILECFG loads: palette 1, eight tiles of 16 rows of 64 bytes.
struct TileConfiguration {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
alignas(64) inline constexpr TileConfiguration kTileConfiguration{};
static_assert(sizeof kTileConfiguration == 64);

// The calling thread's eight tiles, zeros at first. Once released they are not saved when it is suspended.
class Tiles {
 public:
  Tiles() { _tile_loadconfig(&kTileConfiguration); }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

#else

inline constexpr bool kHasTiles = false;

#endif

}  // namespace fusedops::cpu::FUSEDOPS_ISA
