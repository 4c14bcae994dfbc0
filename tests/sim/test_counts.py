"""What the counters of a launch say, for kernels whose counts are known by hand."""

from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from kernels import HEAD, MATRICES, matrix_operands

from fusedops.sim import ORDERS, Cost, build

EVERY_ORDER = pytest.mark.parametrize("order", ORDERS)

# Two threadgroups of 64 threads; what a line costs stands beside it.
KERNEL = """
kernel void f(device const float* x [[buffer(0)]], device float* y [[buffer(1)]], constant uint& n [[buffer(2)]],
              device atomic_uint* total [[buffer(3)]], uint i [[thread_position_in_grid]],
              uint t [[thread_index_in_threadgroup]]) {
  threadgroup float shared[64];                          // per thread:
  float a = x[i] + x[0];                                 // 8 device bytes loaded, 4 of them the threadgroup's first
  if (n > 3) a += x[i];                                  // 4 more where n, which is no traffic, says so
  shared[t] = a;                                         // 4 threadgroup bytes stored
  threadgroup_barrier(mem_flags::mem_threadgroup);       // per SIMD-group: a barrier
  a = shared[63 - t] * shared[63 - t];                   // 8 threadgroup bytes loaded, though the second is known
  a += simd_shuffle_xor(a, 1) + simd_shuffle(float2(a), 0).x;  // per SIMD-group: 3 shuffles of 32 bits
  a += simd_sum(a) + simd_prefix_exclusive_sum(a);       // 2 reductions
  a += simd_any(a > 0);                                  // a vote
  simdgroup_barrier(mem_flags::mem_none);                // a barrier
  if (t < 16) a += fast::exp(a) + precise::exp2(a);      // 2 exponentials in 16 threads
  a += float(exp2(half2(a)).x);                          // 2 in every thread
  y[i] = a;                                              // 4 device bytes stored
  y[i] = a + 1;                                          // 4 more, to the same place
  if (t == 0) atomic_fetch_add_explicit(total, 1u, memory_order_relaxed);  // 4 loaded and 4 stored in a threadgroup
}
"""
THREADS, GROUPS, SIMDGROUPS = 128, 2, 4
EXPECTED = Cost(
    device_loaded=THREADS * 8 + GROUPS * 4,
    device_loaded_by_threadgroups=THREADS * 4 + 4 + GROUPS * 4,  # the second threadgroup loads x[0], too
    device_loaded_distinct=THREADS * 4 + 4,
    device_stored=THREADS * 8 + GROUPS * 4,
    device_stored_by_threadgroups=THREADS * 4 + GROUPS * 4,
    device_stored_distinct=THREADS * 4 + 4,
    threadgroup_loaded=THREADS * 8,
    threadgroup_stored=THREADS * 4,
    shuffles=SIMDGROUPS * 3,
    reductions=SIMDGROUPS * 3,
    threadgroup_barriers=SIMDGROUPS,
    simdgroup_barriers=SIMDGROUPS,
    exponentials=THREADS * 2 + GROUPS * 16 * 2,
)


# What a change to the kernel does to the counts.
CHANGES: list[tuple[str, str, dict[str, int]]] = [
    ("+ x[0]", "+ x[i ^ 1]", {"device_loaded_by_threadgroups": -4}),
    ("+ x[0]", "", {"device_loaded": -THREADS * 4, "device_loaded_by_threadgroups": -4}),
    ("y[i] = a;", "", {"device_stored": -THREADS * 4}),
    ("y[i] = a;", "y[0] = a;", {"device_stored_by_threadgroups": 4}),
    ("* shared[63 - t]", "", {"threadgroup_loaded": -THREADS * 4}),
    ("shared[t] = a;", "shared[t] = a; shared[t] = a;", {"threadgroup_stored": THREADS * 4}),
    ("simd_shuffle(float2(a), 0).x", "a", {"shuffles": -2 * SIMDGROUPS}),
    ("simd_sum(a) +", "", {"reductions": -SIMDGROUPS}),
    ("simdgroup_barrier(mem_flags::mem_none);", "", {"simdgroup_barriers": -SIMDGROUPS}),
    ("float a = x", "threadgroup_barrier(mem_flags::mem_none); float a = x", {"threadgroup_barriers": SIMDGROUPS}),
    ("half2(a)).x", "half(a))", {"exponentials": -THREADS}),
    ("fast::exp(a)", "precise::log(a)", {"exponentials": -GROUPS * 16}),
]


def changed(number: int) -> str:
    """The kernel with a change, as a kernel of its own."""
    line, instead, _ = CHANGES[number]
    assert line in KERNEL
    return KERNEL.replace(line, instead).replace("void f(", f"void f{number}(")


TEXT = "\n".join([HEAD, KERNEL, *map(changed, range(len(CHANGES)))])
COPY = f"""{HEAD}
struct Many {{ float v[24]; }};
kernel void copy(device const Many* x [[buffer(0)]], device Many* y [[buffer(1)]],
                 uint i [[thread_position_in_grid]]) {{
  y[i] = x[i];
}}
"""


def count(kernel: str = "f", n: int = 3, order: str = "forward") -> Cost:
    x, y = np.ones(THREADS, np.float32), np.zeros(THREADS, np.float32)
    return build(TEXT, count=True).count(
        kernel,
        [x, y, np.uint32(n), np.zeros(1, np.uint32)],
        threadgroups=(GROUPS,),
        threads_per_threadgroup=(THREADS // GROUPS,),
        order=order,
        seed=1,
    )


@EVERY_ORDER
def test_counts(order: str) -> None:
    assert count(order=order) == EXPECTED


def test_counts_what_is_executed() -> None:
    assert count(n=4) == replace(EXPECTED, device_loaded=EXPECTED.device_loaded + THREADS * 4)


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_planted_changes_change_the_counts(number: int) -> None:
    before, now = asdict(EXPECTED), asdict(count(f"f{number}"))
    assert {name: now[name] - before[name] for name in now if now[name] != before[name]} == CHANGES[number][2]


def test_a_large_object_counts_its_bytes_once() -> None:
    x, y = np.zeros(24 * THREADS, np.float32), np.zeros(24 * THREADS, np.float32)
    cost = build(COPY, count=True).count("copy", [x, y], threadgroups=(1,), threads_per_threadgroup=(THREADS,))
    assert (cost.device_loaded, cost.device_loaded_distinct, cost.device_stored) == (x.nbytes, x.nbytes, y.nbytes)


@EVERY_ORDER
def test_products_of_matrices(order: str) -> None:
    """Two operands of 64 halves, 64 floats to add to, 64 floats out, 8 * 8 * 8 multiply-adds."""
    library = build(MATRICES, count=True)
    operands = matrix_operands(np.float16, np.float16)
    launch: dict[str, Any] = {"threadgroups": (3,), "threads_per_threadgroup": (32,), "order": order}
    cost = library.count("multiply<half, half>", operands, **launch)
    assert cost.multiply_accumulates == 3 * 512
    assert (cost.device_loaded, cost.device_loaded_by_threadgroups) == (3 * 512, 3 * 512)
    assert (cost.device_loaded_distinct, cost.device_stored_distinct) == (512, 256)
    assert (cost.shuffles, cost.reductions, cost.threadgroup_loaded) == (0, 0, 0)


def test_a_launch_does_not_see_the_one_before() -> None:
    assert count(n=4) != EXPECTED
    assert count() == EXPECTED


def test_costs_add_up_and_repeat() -> None:
    twice = EXPECTED + EXPECTED
    assert twice == EXPECTED * 2
    assert twice.exponentials == 2 * EXPECTED.exponentials
    assert f"device stored: {EXPECTED.device_stored:,}" in str(EXPECTED).splitlines()


def test_counting_needs_a_build_that_counts() -> None:
    with pytest.raises(ValueError, match="count: expected a library that was built with count=True"):
        build(COPY).count("f", [])
    with pytest.raises(ValueError, match="check and count: expected at most one of them"):
        build(COPY, check=True, count=True)
