// <metal_simdgroup> and <metal_quadgroup>: reductions, scans, shuffles and votes.
//
// A target supplies detail::Site (where the call stands), detail::Lanes<T> (the values that the lanes of a SIMD-group
// posted), detail::post, reduce, scan and vote. Every lane posts its value and then reads what it needs.
#pragma once

namespace metal {
namespace detail {
// What Apple's functions take: scalars of up to 32 bits, without bfloat, and vectors of them.
template <class T>
using simd_type =
    enable_if_t<is_arithmetic_v<component_t<T>> && sizeof(component_t<T>) <= 4 && !is_same_v<component_t<T>, bfloat>,
                int>;

#define MSL_OPERATION(name, expression)   \
  struct name {                           \
    template <class T>                    \
    MSL_FN T operator()(T a, T b) const { \
      return T(expression);               \
    }                                     \
  };
MSL_OPERATION(plus, a + b)
MSL_OPERATION(times, a* b)
MSL_OPERATION(larger, metal::max(a, b))
MSL_OPERATION(smaller, metal::min(a, b))
MSL_OPERATION(bit_and, a& b)
MSL_OPERATION(bit_or, a | b)
MSL_OPERATION(bit_xor, a ^ b)
#undef MSL_OPERATION

// The lanes that a function works on: those of the caller's SIMD-group (width 32) or quad (width 4).
template <class T>
struct Group {
  Lanes<T> lanes;
  uint width, index;  // index: the caller's within the group
  MSL_FN Group(const T& value, uint width, Site site)
      : lanes(post(value, MSL_OP_SHUFFLE, site)), width(width), index(lanes.lane & (width - 1)) {}
  MSL_FN T read(uint i) const { return lanes.read(i < width ? lanes.lane - index + i : kNoLane); }
};
}  // namespace detail

#define MSL_REDUCTION(name, operation)                                                    \
  template <class T, detail::simd_type<T> = 0>                                            \
  MSL_FN inline T simd_##name(T x, detail::Site site = detail::Site::current()) {         \
    return detail::reduce(detail::post(x, MSL_OP_REDUCE, site), 32, detail::operation{}); \
  }                                                                                       \
  template <class T, detail::simd_type<T> = 0>                                            \
  MSL_FN inline T quad_##name(T x, detail::Site site = detail::Site::current()) {         \
    return detail::reduce(detail::post(x, MSL_OP_REDUCE, site), 4, detail::operation{});  \
  }
MSL_REDUCTION(sum, plus)
MSL_REDUCTION(product, times)
MSL_REDUCTION(max, larger)
MSL_REDUCTION(min, smaller)
MSL_REDUCTION(and, bit_and)
MSL_REDUCTION(or, bit_or)
MSL_REDUCTION(xor, bit_xor)
#undef MSL_REDUCTION

#define MSL_SCAN(name, operation, neutral)                                                             \
  template <class T, detail::simd_type<T> = 0>                                                         \
  MSL_FN inline T simd_prefix_inclusive_##name(T x, detail::Site site = detail::Site::current()) {     \
    return detail::scan(detail::post(x, MSL_OP_REDUCE, site), T(neutral), true, detail::operation{});  \
  }                                                                                                    \
  template <class T, detail::simd_type<T> = 0>                                                         \
  MSL_FN inline T simd_prefix_exclusive_##name(T x, detail::Site site = detail::Site::current()) {     \
    return detail::scan(detail::post(x, MSL_OP_REDUCE, site), T(neutral), false, detail::operation{}); \
  }
MSL_SCAN(sum, plus, 0)
MSL_SCAN(product, times, 1)
#undef MSL_SCAN

// `source` is the index within the group that a lane reads; lanes that would read past its end keep their own value.
#define MSL_SHUFFLE(name, source)                                                           \
  template <class T, detail::simd_type<T> = 0>                                              \
  MSL_FN inline T simd_##name(T x, ushort n, detail::Site site = detail::Site::current()) { \
    const detail::Group<T> group(x, 32, site);                                              \
    return group.read(source);                                                              \
  }                                                                                         \
  template <class T, detail::simd_type<T> = 0>                                              \
  MSL_FN inline T quad_##name(T x, ushort n, detail::Site site = detail::Site::current()) { \
    const detail::Group<T> group(x, 4, site);                                               \
    return group.read(source);                                                              \
  }
MSL_SHUFFLE(shuffle, n)
MSL_SHUFFLE(broadcast, n)
MSL_SHUFFLE(shuffle_xor, group.index ^ (n & (group.width - 1)))
MSL_SHUFFLE(shuffle_up, group.index < n ? group.index : group.index - n)
MSL_SHUFFLE(shuffle_down, group.index + n >= group.width ? group.index : group.index + n)
MSL_SHUFFLE(shuffle_rotate_up, (group.index - n) & (group.width - 1))
MSL_SHUFFLE(shuffle_rotate_down, (group.index + n) & (group.width - 1))
#undef MSL_SHUFFLE

namespace detail {
template <class T>
struct Filled {
  T value, fill;
};
}  // namespace detail

// In blocks of `modulo` lanes; lanes that would read past a block's end take from the other end of `fill`.
template <class T, detail::simd_type<T> = 0>
MSL_FN inline T simd_shuffle_and_fill_up(T x, T fill, ushort delta, ushort modulo = 32,
                                         detail::Site site = detail::Site::current()) {
  const auto lanes = detail::post(detail::Filled<T>{x, fill}, MSL_OP_SHUFFLE, site);
  const uint index = lanes.lane % modulo, first = lanes.lane - index;
  const auto read = lanes.read(first + (modulo + index - delta) % modulo);
  return index < delta ? read.fill : read.value;
}
template <class T, detail::simd_type<T> = 0>
MSL_FN inline T simd_shuffle_and_fill_down(T x, T fill, ushort delta, ushort modulo = 32,
                                           detail::Site site = detail::Site::current()) {
  const auto lanes = detail::post(detail::Filled<T>{x, fill}, MSL_OP_SHUFFLE, site);
  const uint index = lanes.lane % modulo, first = lanes.lane - index;
  const auto read = lanes.read(first + (index + delta) % modulo);
  return index + delta >= modulo ? read.fill : read.value;
}

template <class T, detail::simd_type<T> = 0>
MSL_FN inline T simd_broadcast_first(T x, detail::Site site = detail::Site::current()) {
  const auto lanes = detail::post(x, MSL_OP_SHUFFLE, site);
  return lanes.read(lanes.first_active());
}

struct simd_vote {
  typedef uint64_t vote_t;
  vote_t bits;
  MSL_FN explicit constexpr simd_vote(vote_t bits) : bits(bits) {}
  MSL_FN explicit constexpr operator vote_t() const { return bits; }
  MSL_FN bool all() const { return bits == 0xffffffff; }
  MSL_FN bool any() const { return bits != 0; }
};

MSL_FN inline simd_vote simd_ballot(bool b, detail::Site site = detail::Site::current()) {
  return simd_vote(detail::vote(b, site).yes);
}
MSL_FN inline bool simd_all(bool b, detail::Site site = detail::Site::current()) {
  const detail::Vote vote = detail::vote(b, site);
  return vote.yes == vote.active;
}
MSL_FN inline bool simd_any(bool b, detail::Site site = detail::Site::current()) {
  return detail::vote(b, site).yes != 0;
}
MSL_FN inline simd_vote simd_active_threads_mask(detail::Site site = detail::Site::current()) {
  return simd_vote(detail::vote(true, site).active);
}
MSL_FN inline bool simd_is_first(detail::Site site = detail::Site::current()) {
  const uint active = detail::vote(true, site).active;
  return (active & ((1u << msl_rt_lane()) - 1)) == 0;
}
}  // namespace metal
