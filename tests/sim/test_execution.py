"""SIMD-group functions, matrices, memory and values in the simulator, in every order."""

from functools import cache
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from kernels import (
    HEAD,
    LANES,
    MATRICES,
    MEMORY,
    assert_lanes,
    assert_matrix_product,
    matrix_operands,
    matrix_operands_not_finite,
)

from fusedops.sim import ORDERS, Library, SimulatorError, build

TYPES = {"float": np.float32, "half": np.float16, "bfloat": ml_dtypes.bfloat16}
EVERY_ORDER = pytest.mark.parametrize("order", ORDERS)


@cache
def library(text: str, check: bool = True) -> Library:
    return build(text, check=check)


@EVERY_ORDER
def test_lanes(order: str) -> None:
    assert_lanes(lambda *arguments, **launch: library(LANES).run(*arguments, **launch, order=order))


@pytest.mark.parametrize("a_type", TYPES)
@pytest.mark.parametrize("b_type", TYPES)
def test_matrix_product(a_type: str, b_type: str) -> None:
    for order in ORDERS:
        operands = matrix_operands(TYPES[a_type], TYPES[b_type])
        library(MATRICES).run(
            f"multiply<{a_type}, {b_type}>",
            operands,
            threadgroups=(1,),
            threads_per_threadgroup=(32,),
            order=order,
        )
        assert_matrix_product(*operands)


@pytest.mark.parametrize("name", TYPES)
def test_matrix_product_that_is_not_finite(name: str) -> None:
    operands = matrix_operands_not_finite(TYPES[name])
    kernel = f"multiply<{name}, {name}>"
    library(MATRICES).run(kernel, operands, threadgroups=(1,), threads_per_threadgroup=(32,))
    assert_matrix_product(*operands)


@EVERY_ORDER
@pytest.mark.parametrize("negative", [None, False, True])
def test_memory_and_constants(negative: bool | None, order: str) -> None:
    x = np.arange(256, dtype=np.float32)
    out, total = np.full(256, np.nan, np.float32), np.zeros(1, np.uint32)
    constants: dict[str, Any] = {"factor": 3.0, "offset": 7}
    library(MEMORY).run(
        "memory",
        [x, out, total],
        threadgroups=(4,),
        threads_per_threadgroup=(64,),
        threadgroup_memory={0: 256},
        constants=constants if negative is None else constants | {"negative": negative},
        order=order,
    )
    np.testing.assert_array_equal(out, (-3 if negative else 3) * x.reshape(4, 64)[:, ::-1].ravel() + 7)
    assert total[0] == 256


def test_a_constant_that_cannot_be_computed_is_a_finding() -> None:
    text = f"""{HEAD}
    constant uint heads [[function_constant(0)]];
    constant uint kv_heads [[function_constant(1)]];
    constant uint group = heads / kv_heads;
    kernel void f(device uint* x [[buffer(0)]]) {{ x[0] = group; }}"""
    x = np.zeros(1, np.uint32)
    with pytest.raises(SimulatorError, match=r"integer division by zero at <metal>:\d+"):
        library(text).run("f", [x], threadgroups=(1,))
    library(text).run("f", [x], threadgroups=(1,), constants={"heads": 8, "kv_heads": 2})
    assert x[0] == 4
    with pytest.raises(SimulatorError, match="there is no function constant 'head', only heads, kv_heads"):
        library(text).run("f", [x], threadgroups=(1,), constants={"head": 8})
    with pytest.raises(
        SimulatorError, match=r"heads: 1.5 does not fit its type of 4|heads: -1 does not fit|heads: 4294967296"
    ):
        library(text).run("f", [x], threadgroups=(1,), constants={"heads": 1 << 32})


# expression: value; a, b and c are halves 0.1, 3.0 and 0.7, n is an int 7
VALUES: dict[str, float] = {
    "(v.xy = v.yx, v.x)": 2,
    "(v.zw += float2(1.0h, 2), v.w)": 6,
    "half3(v.wzy).x": 4,
    "packed_float3(v.xyz)[2]": 3,
    "v.rgba.a": 4,
    "float(as_type<uint>(1.0f) == 0x3f800000)": 1,
    "sizeof(float3)": 16,
    "sizeof(packed_float3)": 12,
    "sizeof(half4)": 8,
    "alignof(bfloat4)": 8,
    "sizeof(1.0)": 4,
    "sizeof(1.0h)": 2,
    "sizeof(ulong)": 8,
    "1.0h / 3.0h": float(np.float16(1) / np.float16(3)),
    "a * b + c": float(np.float16(0.1) * np.float16(3) + np.float16(0.7)),
    "a * b * c / b - a": float(np.float16(0.1) * np.float16(3) * np.float16(0.7) / np.float16(3) - np.float16(0.1)),
    "float(bfloat(0.1f) + bfloat(0.7f))": float(ml_dtypes.bfloat16(0.1) + ml_dtypes.bfloat16(0.7)),
    "float(bfloat(1.00390625f))": 1,
    "float(bfloat(1.01171875f))": 1.015625,
    "any(v > 3)": 1,
    "all(v > 3)": 0,
    "dot(v, v)": 30,
    "max(v, 2.5f).x": 2.5,
    "clamp(v, 2.0f, 3.0f).w": 3,
    "select(v, -v, v > 2).z": -3,
    "min(n, 3)": 3,
    "max(int2(n, 1), 2).y": 2,
    "abs(-n)": 7,
    "clz(1u)": 31,
    "ctz(8u)": 3,
    "clz(short(1))": 15,
    "popcount(uchar(255))": 8,
    "mulhi(0xffffffffu, 16u)": 15,
    "extract_bits(0xabcdu, 4, 8)": 0xBC,
    "insert_bits(0xffffu, 0u, 4, 8)": 0xF00F,
    "numeric_limits<half>::max()": 65504,
    "float(numeric_limits<bfloat>::epsilon())": 2.0**-7,
    "numeric_limits<float>::min()": 2.0**-126,
    "numeric_limits<short>::lowest()": -32768,
    "rsqrt(16.0f)": 0.25,
    "exp2(half(3))": 8,
    "precise::exp(bfloat(0))": 1,
    "fast::log2(8.0f)": 3,
    "fmod(7.5f, 2.0f)": 1.5,
    "fract(-0.25f)": 0.75,
    "sign(-3.0f)": -1,
    "saturate(float2(-1, 0.5)).y": 0.5,
    "mix(1.0f, 3.0f, 0.25f)": 1.5,
    "step(1.0f, 0.5f)": 0,
    "fma(2.0f, 3.0f, 4.0f)": 10,
    "isnan(NAN)": 1,
    "isinf(-INFINITY)": 1,
    "isnan(half2(0.0h, NAN)).y": 1,
    "pow(2.0f, 10.0f)": 1024,
}


def test_values() -> None:
    statements = "\n".join(
        f"{{ float4 v = float4(1, 2, 3, 4); out[{i}] = float({expression}); }}" for i, expression in enumerate(VALUES)
    )
    text = f"""{HEAD}
    kernel void values(device float* out [[buffer(0)]], constant half* h [[buffer(1)]],
                       constant int& n [[buffer(2)]]) {{
      const half a = h[0], b = h[1], c = h[2];
      {statements}
    }}"""
    out = np.full(len(VALUES), np.nan, np.float32)
    operands = np.array([0.1, 3.0, 0.7], np.float16)
    library(text, check=False).run("values", [out, operands, np.int32(7)], threadgroups=(1,))
    for value, (expression, expected) in zip(out, VALUES.items(), strict=True):
        assert value == np.float32(expected), expression


ATOMICS = f"""{HEAD}
kernel void atomics(device atomic_int* x [[buffer(0)]], device atomic_float* y [[buffer(1)]],
                    uint i [[thread_position_in_grid]]) {{
  atomic_fetch_add_explicit(x, int(i), memory_order_relaxed);
  atomic_fetch_sub_explicit(x + 1, int(i), memory_order_relaxed);
  atomic_fetch_min_explicit(x + 2, -int(i), memory_order_relaxed);
  atomic_fetch_max_explicit(x + 3, int(i), memory_order_relaxed);
  atomic_fetch_or_explicit(x + 4, 1 << (i % 32), memory_order_relaxed);
  atomic_fetch_and_explicit(x + 5, ~(1 << (i % 32)), memory_order_relaxed);
  atomic_fetch_xor_explicit(x + 6, int(i), memory_order_relaxed);
  int expected = int(i);
  while (!atomic_compare_exchange_weak_explicit(x + 7, &expected, expected + 1, memory_order_relaxed,
                                                memory_order_relaxed)) {{
  }}
  if (i == 3) atomic_store_explicit(x + 8, atomic_exchange_explicit(x + 9, 5, memory_order_relaxed),
                                    memory_order_relaxed);
  atomic_fetch_add_explicit(y, 0.5f, memory_order_relaxed);
}}
"""


@EVERY_ORDER
def test_atomics(order: str) -> None:
    x, y = np.array([0, 0, 99, -99, 0, -1, 0, 0, 0, 11], np.int32), np.zeros(1, np.float32)
    library(ATOMICS).run("atomics", [x, y], threadgroups=(2,), threads_per_threadgroup=(64,), order=order)
    sum_of_all = 127 * 128 // 2
    np.testing.assert_array_equal(x, [sum_of_all, -sum_of_all, -127, 127, -1, 0, 0, 128, 11, 5])
    assert y[0] == 64


GRID = f"""{HEAD}
kernel void grid(device uint* out [[buffer(0)]], uint3 p [[thread_position_in_grid]],
                 uint3 g [[threadgroup_position_in_grid]], uint3 q [[thread_position_in_threadgroup]],
                 uint3 size [[threads_per_threadgroup]], uint3 all [[threads_per_grid]],
                 uint3 groups [[threadgroups_per_grid]], uint i [[thread_index_in_threadgroup]],
                 uint s [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]],
                 uint simds [[simdgroups_per_threadgroup]]) {{
  device uint* o = out + 8 * (p.x + all.x * (p.y + all.y * p.z));
  o[0] = g.x + 10 * g.y + 100 * g.z;
  o[1] = q.x + 10 * q.y + 100 * q.z;
  o[2] = size.x + 10 * size.y + 100 * size.z;
  o[3] = groups.x + 10 * groups.y + 100 * groups.z;
  o[4] = i;
  o[5] = s * 32 + lane;
  o[6] = simds;
  o[7] = all.x + 10 * all.y + 100 * all.z;
}}
"""


@EVERY_ORDER
def test_positions_with_smaller_threadgroups_at_the_edges(order: str) -> None:
    shape, unit = (7, 5, 3), (4, 3, 2)
    out = np.full((*shape[::-1], 8), 99, np.uint32)
    library(GRID).run("grid", [out], threads=shape, threads_per_threadgroup=unit, order=order)
    for z, y, x in np.ndindex(shape[::-1]):
        group = [p // n for p, n in zip((x, y, z), unit, strict=True)]
        place = [p % n for p, n in zip((x, y, z), unit, strict=True)]
        size = [min(n, total - n * g) for n, total, g in zip(unit, shape, group, strict=True)]
        index = place[0] + size[0] * (place[1] + size[1] * place[2])
        decimal = [digits[0] + 10 * digits[1] + 100 * digits[2] for digits in (group, place, size)]
        np.testing.assert_array_equal(out[z, y, x], [*decimal, 222, index, index, 1, 357])
