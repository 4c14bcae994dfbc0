// The lanes of a warp: nothing is posted, each read is a shuffle in which all lanes take part.
#pragma once

enum MslOp { MSL_OP_REDUCE, MSL_OP_SHUFFLE, MSL_OP_MATRIX_LOAD, MSL_OP_MATRIX_STORE };

namespace metal {
namespace detail {
constexpr uint kNoLane = 32;

struct Site {  // places are of no use here
  MSL_FN static constexpr Site current() { return {}; }
};

template <class T>
MSL_FN inline T shuffle(const T& value, uint from) {
  constexpr int count = (sizeof(T) + 3) / 4;
  uint words[count] = {};
  __builtin_memcpy(words, &value, sizeof(T));
#pragma unroll
  for (int i = 0; i < count; i++) words[i] = __shfl_sync(~0u, words[i], msl_thread_of(from));
  T result;
  __builtin_memcpy(&result, words, sizeof(T));
  return result;
}

template <class T>
struct Lanes {
  T value;
  uint lane;
  MSL_FN uint first_active() const { return 0; }
  MSL_FN T read(uint from) const { return shuffle(value, from); }
};

template <class T>
MSL_FN inline Lanes<T> post(const T& value, MslOp, Site) {
  return {value, msl_rt_lane()};
}

template <class T, class F>
MSL_FN inline T reduce(const Lanes<T>& lanes, uint width, F combine) {
  T result = lanes.value;
#pragma unroll
  for (uint distance = width / 2; distance; distance /= 2)
    result = combine(result, shuffle(result, lanes.lane ^ distance));
  return result;
}

template <class T, class F>
MSL_FN inline T scan(const Lanes<T>& lanes, T neutral, bool inclusive, F combine) {
  T result = lanes.value;
#pragma unroll
  for (uint distance = 1; distance < 32; distance *= 2) {
    const T before = shuffle(result, lanes.lane - distance);
    if (lanes.lane >= distance) result = combine(before, result);
  }
  if (inclusive) return result;
  const T before = shuffle(result, lanes.lane - 1);
  return lanes.lane ? before : neutral;
}

struct Vote {
  uint yes, active;
};
// The ballot's bits are the warp's threads: each votes for the lane of its number.
MSL_FN inline Vote vote(bool mine, Site) {
  return {__ballot_sync(~0u, shuffle(uint(mine), msl_thread_of(msl_rt_lane()))), ~0u};
}
}  // namespace detail
}  // namespace metal
