"""What attention costs by count, in the simulator: fusedops' Metal kernels and MLX's own on the same problem."""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

import fusedops
from bench import mlx_kernels
from bench.cases import ITEM_SIZES, Sdpa
from bench.mlx_kernels import Launches
from bench.reference import check
from fusedops.backends import numpy as numpy_backend
from fusedops.sim import Cost, Library, build
from fusedops.sim.plans import bind_plan
from fusedops.sim.run import BoundLaunch

DTYPES = {"f32": np.dtype(np.float32), "f16": np.dtype(np.float16), "bf16": np.dtype(ml_dtypes.bfloat16)}

Arrays = list[np.ndarray]
Implementation = Callable[[Sdpa, Arrays], Launches]


@dataclass(frozen=True)
class LaunchCost:
    """One launch of an implementation: the kernel and the threadgroups of the whole case, and what they cost."""

    kernel: str
    threadgroups: int
    threads_per_threadgroup: int
    cost: Cost


@dataclass(frozen=True)
class Counted:
    """One implementation of a case. `heads_run` of the case's KV heads were simulated, and their cost multiplied."""

    launches: list[LaunchCost]
    heads_run: int

    @property
    def cost(self) -> Cost:
        """Of all launches together."""
        return sum((launch.cost for launch in self.launches), start=Cost())


def fusedops_launches(case: Sdpa, arrays: Arrays) -> Launches:
    """What fusedops plans for a Mac."""
    plan: Any = fusedops.sdpa(*map(numpy_backend.layout, arrays), causal=case.causal)
    launches, outputs = bind_plan(plan, arrays)
    return launches, outputs[0]


def mlx_launches(include: Path) -> Implementation:
    """What MLX launches on a Mac."""
    return lambda case, arrays: mlx_kernels.sdpa(*arrays, causal=case.causal, include=include)


def random_arrays(case: Sdpa, dtype: str) -> Arrays:
    """The case's inputs, from the normal distribution."""
    random = np.random.default_rng(zlib.crc32(case.name.encode()))
    return [random.standard_normal(shape, np.float32).astype(DTYPES[dtype]) for shape in case.shapes.values()]


def count(case: Sdpa, dtype: str, implementations: dict[str, Implementation]) -> dict[str, Counted]:
    """Simulates all implementations on the same arrays. Raises bench.reference.WrongResult if one is wrong."""
    return {name: _count(case, dtype, name, launches) for name, launches in implementations.items()}


def lower_bound(case: Sdpa, dtype: str) -> Cost:
    """What no kernel does without.

    Every input read and every output written once, two products of head_dim and one exponential for every pair of a
    query and a key that it sees.
    """
    queries = case.batch * case.query_heads * case.query_length * case.head_dim * ITEM_SIZES[dtype]
    loaded = case.bytes_moved(ITEM_SIZES[dtype]) - queries
    return Cost(
        device_loaded=loaded,
        device_loaded_by_threadgroups=loaded,
        device_loaded_distinct=loaded,
        device_stored=queries,
        device_stored_by_threadgroups=queries,
        device_stored_distinct=queries,
        multiply_accumulates=case.flops // 2,
        exponentials=case.flops // (4 * case.head_dim),
    )


def _count(case: Sdpa, dtype: str, name: str, implementation: Implementation) -> Counted:
    heads = case.batch * case.kv_heads
    whole, _ = implementation(case, _layouts(case, dtype))
    one_head = replace(case, batch=1, query_heads=case.query_heads // case.kv_heads, kv_heads=1)
    part, _ = implementation(one_head, _layouts(one_head, dtype))
    heads_run = 1 if _repeats(whole, part, heads) else heads
    simulated = one_head if heads_run == 1 else case
    arrays = random_arrays(simulated, dtype)
    launches, out = implementation(simulated, arrays)
    costs = [launch.on(_library(launch.text, launch.include).count) for launch in launches]
    check(simulated, dtype, [array.astype(np.float32) for array in arrays], {name: [out.astype(np.float32)]})
    return Counted(
        [
            LaunchCost(
                launch.kernel,
                math.prod(launch.threadgroups),
                math.prod(launch.threads_per_threadgroup),
                cost * (heads // heads_run),
            )
            for launch, cost in zip(whole, costs, strict=True)
        ],
        heads_run,
    )


def _layouts(case: Sdpa, dtype: str) -> Arrays:
    """Arrays of no values and next to no memory."""
    return [np.empty(shape, DTYPES[dtype]) for shape in case.shapes.values()]


def _repeats(whole: list[BoundLaunch], part: list[BoundLaunch], times: int) -> bool:
    """Whether the whole is the part's launches, each with so many times its threadgroups: heads are alike then."""
    return len(whole) == len(part) and all(
        (a.kernel, a.constants, a.threads_per_threadgroup) == (b.kernel, b.constants, b.threads_per_threadgroup)
        and math.prod(a.threadgroups) == times * math.prod(b.threadgroups)
        for a, b in zip(whole, part, strict=True)
    )


@functools.cache
def _library(text: str, include: tuple[Path, ...]) -> Library:
    return build(text, include=include, count=True)
