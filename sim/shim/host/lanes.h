// The lanes of a SIMD-group: every lane posts a value, the runtime gathers them, each lane reads what it needs. What
// reads many of them is not instrumented: they are no memory of Metal's.
#pragma once

namespace metal::detail {
constexpr uint32_t kNoLane = 32;

template <class T>
struct Lanes {
  const T* values;
  uint32_t active, lane;
  Site site;

  bool is_active(uint32_t i) const { return i < 32 && (active >> i & 1); }
  uint32_t first_active() const { return __builtin_ctz(active); }
  T read(uint32_t from) const {
    if (is_active(from)) return values[from];
    warn("shuffle reads an inactive or absent lane (undefined value)", site);
    T undefined;
    __builtin_memset(&undefined, 0xff, sizeof undefined);
    return undefined;
  }
};

template <class T>
inline Lanes<T> post(const T& value, MslOp operation, Site site) {
  static_assert(sizeof(T) <= kMslLaneBytes);
  const MslLanes lanes = msl_rt_simd(&value, sizeof(T), operation, site.file, site.line);
  return {static_cast<const T*>(lanes.values), lanes.active, lanes.lane, site};
}

// Of the caller's block of `width` lanes. A full SIMD-group is reduced as a balanced tree, the order most hardware
// uses.
template <class T, class F>
[[gnu::no_sanitize_thread]] inline T reduce(const Lanes<T>& lanes, uint32_t width, F combine) {
  if (width == 32 && lanes.active == ~0u) {
    T partial[16];
    for (int i = 0; i < 16; i++) partial[i] = combine(lanes.values[i], lanes.values[i + 16]);
    for (int half = 8; half; half /= 2)
      for (int i = 0; i < half; i++) partial[i] = combine(partial[i], partial[i + half]);
    return partial[0];
  }
  const uint32_t first = lanes.lane & ~(width - 1);
  T result{};
  bool found = false;
  for (uint32_t i = first; i < first + width; i++) {
    if (!lanes.is_active(i)) continue;
    result = found ? combine(result, lanes.values[i]) : lanes.values[i];
    found = true;
  }
  return result;
}

template <class T, class F>
[[gnu::no_sanitize_thread]] inline T scan(const Lanes<T>& lanes, T neutral, bool inclusive, F combine) {
  T result = neutral;
  for (uint32_t i = 0; i < lanes.lane + inclusive; i++)
    if (lanes.is_active(i)) result = combine(result, lanes.values[i]);
  return result;
}

struct Vote {
  uint32_t yes, active;
};
[[gnu::no_sanitize_thread]] inline Vote vote(bool mine, Site site) {
  const Lanes<bool> lanes = post(mine, MSL_OP_VOTE, site);
  uint32_t yes = 0;
  for (uint32_t i = 0; i < 32; i++)
    if (lanes.is_active(i) && lanes.values[i]) yes |= 1u << i;
  return {yes, lanes.active};
}
}  // namespace metal::detail
