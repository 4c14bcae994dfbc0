"""What a launch costs, counted."""

from __future__ import annotations

import ctypes
from dataclasses import astuple, dataclass, fields


@dataclass(frozen=True)
class Cost:
    """What the threads of a launch, or of several, ask of the machine. `+` adds launches up, `*` repeats one.

    Bytes of device memory are counted in three ways, and what setBytes passes (numpy scalars and bytes) in none:
    as often as threads ask for them, which is what reaches a core without any cache; once for each threadgroup, which
    is what reaches a core whose cache holds all that a threadgroup touches; and once for the launch, which is the
    least that comes from memory.

    Attributes:
        device_loaded: Bytes of device memory that threads load.
        device_loaded_by_threadgroups: The same, each byte once for each threadgroup.
        device_loaded_distinct: The same, each byte once for the launch.
        device_stored: Bytes of device memory that threads store; an atomic update loads and stores.
        device_stored_by_threadgroups: The same, each byte once for each threadgroup.
        device_stored_distinct: The same, each byte once for the launch.
        threadgroup_loaded: Bytes of threadgroup memory that threads load.
        threadgroup_stored: Bytes of threadgroup memory that threads store.
        multiply_accumulates: Scalar ones of products of simdgroup_matrix, 512 for each product.
        shuffles: SIMD-group (and quad) shuffles and broadcasts, one for each SIMD-group and 32 bits of a lane's value.
        reductions: SIMD-group (and quad) sums, scans and votes, counted likewise.
        threadgroup_barriers: One for each SIMD-group that arrives.
        simdgroup_barriers: One for each SIMD-group.
        exponentials: Calls of exp, exp2 and exp10 in every precision, one for each thread and component.
    """

    device_loaded: int = 0
    device_loaded_by_threadgroups: int = 0
    device_loaded_distinct: int = 0
    device_stored: int = 0
    device_stored_by_threadgroups: int = 0
    device_stored_distinct: int = 0
    threadgroup_loaded: int = 0
    threadgroup_stored: int = 0
    multiply_accumulates: int = 0
    shuffles: int = 0
    reductions: int = 0
    threadgroup_barriers: int = 0
    simdgroup_barriers: int = 0
    exponentials: int = 0

    def __add__(self, other: Cost) -> Cost:
        """Return what both cost together."""
        return type(self)(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __mul__(self, times: int) -> Cost:
        """Return what it costs so many times."""
        return type(self)(*(times * count for count in astuple(self)))

    def __str__(self) -> str:
        """Return a line for each counter."""
        return "\n".join(f"{field.name.replace('_', ' ')}: {getattr(self, field.name):,}" for field in fields(self))


NativeCost = ctypes.c_uint64 * len(fields(Cost))  # Cost in shim/runtime/counted/counters.cpp
