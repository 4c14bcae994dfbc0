"""Small kernels that the simulator and the CUDA runner are both tested with, and what they should give."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

HEAD = "#include <metal_stdlib>\nusing namespace metal;\n"

# Every lane function, of x[i]: one row of `out` each.
LANE_FUNCTIONS: dict[str, Callable[[Array], Array]] = {
    "simd_sum(x[i])": lambda x: np.full(32, x.sum()),
    "simd_product(x[i])": lambda x: np.full(32, x.prod(dtype=np.float64)),
    "simd_max(x[i])": lambda x: np.full(32, x.max()),
    "simd_min(x[i])": lambda x: np.full(32, x.min()),
    "quad_sum(x[i])": lambda x: x.reshape(8, 4).sum(1).repeat(4),
    "quad_max(x[i])": lambda x: x.reshape(8, 4).max(1).repeat(4),
    "simd_xor(uint(i * 37))": lambda x: np.full(32, np.bitwise_xor.reduce(np.arange(32) * 37)),
    "simd_or(ushort(i * 37))": lambda x: np.full(32, np.bitwise_or.reduce(np.arange(32) * 37)),
    "simd_and(uint(i | 64))": lambda x: np.full(32, 64),
    "simd_prefix_inclusive_sum(x[i])": lambda x: x.cumsum(),
    "simd_prefix_exclusive_sum(x[i])": lambda x: x.cumsum() - x,
    "simd_prefix_exclusive_product(1 + x[i] / 64)": lambda x: np.concatenate([[1], (1 + x / 64).cumprod()[:-1]]),
    "simd_shuffle(x[i], ushort(31 - i))": lambda x: x[::-1],
    "simd_shuffle(x4, ushort(31 - i)).w": lambda x: x[::-1] + 3,
    "simd_shuffle(half(x[i]), ushort(i / 2))": lambda x: x[np.arange(32) // 2],
    "simd_broadcast(x[i], 5)": lambda x: np.full(32, x[5]),
    "simd_broadcast_first(x[i])": lambda x: np.full(32, x[0]),
    "simd_shuffle_xor(x[i], 8)": lambda x: x[np.arange(32) ^ 8],
    "simd_shuffle_up(x[i], 3)": lambda x: np.concatenate([x[:3], x[:-3]]),
    "simd_shuffle_down(x[i], 3)": lambda x: np.concatenate([x[3:], x[-3:]]),
    "simd_shuffle_rotate_up(x[i], 3)": lambda x: np.roll(x, 3),
    "simd_shuffle_rotate_down(x[i], 3)": lambda x: np.roll(x, -3),
    "simd_shuffle_and_fill_up(x[i], -x[i], 3)": lambda x: np.concatenate([-x[-3:], x[:-3]]),
    "simd_shuffle_and_fill_down(x[i], -x[i], 3)": lambda x: np.concatenate([x[3:], -x[:3]]),
    "simd_shuffle_and_fill_up(x[i], -x[i], 3, 8)": lambda x: np.concatenate(
        [np.concatenate([-block[-3:], block[:-3]]) for block in x.reshape(4, 8)]
    ),
    "quad_shuffle(x[i], 2)": lambda x: x.reshape(8, 4)[:, 2].repeat(4),
    "quad_shuffle_xor(x[i], 1)": lambda x: x[np.arange(32) ^ 1],
    "quad_broadcast(x[i], 3)": lambda x: x.reshape(8, 4)[:, 3].repeat(4),
    "quad_shuffle_up(x[i], 1)": lambda x: x.reshape(8, 4)[:, [0, 0, 1, 2]].ravel(),
    "quad_shuffle_rotate_down(x[i], 1)": lambda x: x.reshape(8, 4)[:, [1, 2, 3, 0]].ravel(),
    "simd_all(i < 31)": lambda x: np.zeros(32),
    "simd_all(i < 32)": lambda x: np.ones(32),
    "simd_any(i == 9)": lambda x: np.ones(32),
    "ulong(simd_ballot(i % 3 == 0)) % 65536": lambda x: np.full(32, sum(1 << i for i in range(0, 16, 3))),
    "simd_is_first()": lambda x: np.arange(32) == 0,
    "ulong(simd_active_threads_mask()) == 0xffffffff": lambda x: np.ones(32),
}
LANES = f"""{HEAD}
kernel void lanes(device const float* x [[buffer(0)]], device float* out [[buffer(1)]],
                  ushort i [[thread_index_in_simdgroup]]) {{
  const float4 x4 = x[i] + float4(0, 1, 2, 3);
  {" ".join(f"out[{row} * 32 + i] = {call};" for row, call in enumerate(LANE_FUNCTIONS))}
}}
"""


def assert_lanes(run: Callable[..., str]) -> None:
    """Check LANES, given the run method of its library."""
    x = np.random.default_rng(0).integers(-8, 9, 32).astype(np.float32)
    x[x == 0] = 1
    out = np.full((len(LANE_FUNCTIONS), 32), np.nan, np.float32)
    run("lanes", [x, out], threadgroups=(1,), threads_per_threadgroup=(32,))
    for row, (call, expected) in zip(out, LANE_FUNCTIONS.items(), strict=True):
        np.testing.assert_allclose(row, expected(x.astype(np.float64)), rtol=1e-5, err_msg=call)


# out = a * transpose of b + c, at an origin and with a row stride of 24.
MATRICES = f"""{HEAD}
template <typename A, typename B>
[[kernel]] void multiply(device const A* a [[buffer(0)]], device const B* b [[buffer(1)]],
                         device const float* c [[buffer(2)]], device float* out [[buffer(3)]]) {{
  simdgroup_matrix<A, 8, 8> left;
  simdgroup_matrix<B, 8, 8> right;
  simdgroup_float8x8 sum;
  simdgroup_load(left, a, 24, ulong2(8, 2));
  simdgroup_load(right, b, 24, ulong2(8, 2), true);
  simdgroup_load(sum, c, 24, ulong2(8, 2));
  simdgroup_multiply_accumulate(sum, left, right, sum);
  simdgroup_store(sum, out, 24, ulong2(8, 2));
}}
""" + "".join(
    f'template [[host_name("multiply<{a}, {b}>")]] [[kernel]] decltype(multiply<{a}, {b}>) multiply<{a}, {b}>;\n'
    for a in ("float", "half", "bfloat")
    for b in ("float", "half", "bfloat")
)


def matrix_operands(a_type: Any, b_type: Any) -> list[Array]:
    """a, b, c and out of MATRICES."""
    random = np.random.default_rng(1)
    a, b, c = (random.standard_normal((12, 24)).astype(dtype) for dtype in (a_type, b_type, np.float32))
    return [a, b, c, np.full((12, 24), np.nan, np.float32)]


def matrix_operands_not_finite(dtype: Any) -> list[Array]:
    """Of the same type, with NaN, infinities, and ones that an infinity is multiplied by."""
    a, b, c, out = matrix_operands(dtype, dtype)
    a[3, 9], b[6, 8:16] = np.inf, 1
    b[4, 10], b[5, 11] = np.nan, -np.inf
    return [a, b, c, out]


def assert_matrix_product(a: Array, b: Array, c: Array, out: Array) -> None:
    block = (slice(2, 10), slice(8, 16))
    left, right, addend = (m[block].astype(np.float64) for m in (a, b, c))
    with np.errstate(invalid="ignore"):
        expected = left @ right.T + addend
    np.testing.assert_allclose(out[block], expected, rtol=1e-5, atol=1e-5)
    out[block] = np.nan
    assert np.isnan(out).all()


# Threadgroup memory with a length, function constants, atomics.
MEMORY = f"""{HEAD}
constant float factor [[function_constant(0)]];
constant uint offset [[function_constant(1)]];
constant bool negative [[function_constant(2)]];
constant float signed_factor = is_function_constant_defined(negative) && negative ? -factor : factor;
kernel void memory(device const float* x [[buffer(0)]], device float* out [[buffer(1)]],
                   device atomic_uint* total [[buffer(2)]], threadgroup float* t [[threadgroup(0)]],
                   uint i [[thread_position_in_threadgroup]], uint g [[thread_position_in_grid]],
                   uint count [[threads_per_threadgroup]]) {{
  t[i] = x[g];
  threadgroup_barrier(mem_flags::mem_threadgroup);
  out[g] = signed_factor * t[count - 1 - i] + offset;
  atomic_fetch_add_explicit(total, 1u, memory_order_relaxed);
}}
"""
