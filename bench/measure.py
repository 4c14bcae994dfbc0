"""One case on one device in one dtype: inputs, check, timing, rows of the report."""

from __future__ import annotations

import zlib

import numpy as np

from bench.cases import ITEM_SIZES, Case, Limit, Mode
from bench.framework import KERNEL, Framework
from bench.limits import Limits
from bench.reference import check
from bench.row import Row
from bench.timing import BUDGET_SECONDS, Timing, interleave


def measure(
    case: Case,
    dtype: str,
    framework: Framework,
    limits: Limits,
    compiled: bool,
    budget_seconds: float = BUDGET_SECONDS,
) -> list[Row]:
    """Times every implementation of `case`, on the same arrays. Raises WrongResult, before timing, if one is wrong."""
    random = np.random.default_rng(zlib.crc32(case.name.encode()))
    inputs = [framework.array(random.standard_normal(shape, np.float32), dtype) for shape in case.shapes.values()]
    implementations = framework.implementations(case, compiled)
    # This first call also compiles and allocates what only first calls do.
    results = {name: framework.results(function, inputs) for name, function in implementations.items()}
    check(case, dtype, [framework.to_numpy(array) for array in inputs], results)
    del results
    lazy = case.mode is Mode.LAZY
    runs = {name: framework.timed(function, *inputs, lazy=lazy) for name, function in implementations.items()}
    alone = {KERNEL: runs.pop(KERNEL)} if KERNEL in runs else {}
    timings = interleave(runs, framework.sample_seconds, budget_seconds)
    # Beside limits, which are measured alone, what is measured alone: others would throw its arrays out of the caches.
    timings |= interleave(alone, framework.sample_seconds, budget_seconds)
    own = timings[framework.name].median_s
    return [row(case, dtype, framework.device, name, timing, own, limits) for name, timing in timings.items()]


def row(case: Case, dtype: str, device: str, impl: str, timing: Timing, own_median_s: float, limits: Limits) -> Row:
    """The report's row of one implementation; `own_median_s` is the framework's own operator's time."""
    gbps = gflops = limit_share = None
    if case.mode is Mode.THROUGHPUT:
        bytes_moved = case.bytes_moved(ITEM_SIZES[dtype])
        gbps = bytes_moved / timing.median_s / 1e9
        gflops = case.flops / timing.median_s / 1e9 if case.flops else None
        if case.limit is Limit.COMPUTE and gflops:
            limit_share = gflops / limits.compute(dtype)
        elif case.limit is Limit.READ:
            limit_share = gbps / limits.read(bytes_moved)
        else:
            limit_share = gbps / limits.copy(bytes_moved)
    return Row(
        op=case.op,
        case=case.name,
        dtype=dtype,
        device=device,
        impl=impl,
        median_s=timing.median_s,
        spread=timing.spread,
        gbps=gbps,
        gflops=gflops,
        limit_share=limit_share,
        ratio=own_median_s / timing.median_s,
    )
