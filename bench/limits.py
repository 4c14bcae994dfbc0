"""How fast this machine can be at best: what the shares in the report are shares of. Measured when first asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from bench.caches import caches, working_set
from bench.framework import Framework, Implementation
from bench.timing import interleave
from fusedops import _core

SMALLEST = 2**16
LARGEST = 2**28
"""Bytes that are moved at least and at most; no cache holds the latter."""
MATMUL_SIZE = 8192


class Limits(ABC):
    """Bandwidths and arithmetic rates of one device.

    copy_gbps: by bytes moved, read and written ones together. A case is held against the copy that moves as much,
        because caches and the cost of a launch make small ones another matter than large ones.
    read_gbps: by bytes read.
    compute_gflops: by dtype.
    """

    def __init__(self) -> None:
        self.copy_gbps: dict[int, float] = {}
        self.read_gbps: dict[int, float] = {}
        self.compute_gflops: dict[str, float] = {}

    def copy(self, num_bytes: int) -> float:
        """GB/s of a copy that moves `num_bytes`, within sensible bounds."""
        size = min(max(num_bytes, SMALLEST), LARGEST)
        if size not in self.copy_gbps:
            self.copy_gbps[size] = self._measure_copy(size)
        return self.copy_gbps[size]

    def read(self, num_bytes: int) -> float:
        """GB/s of reading `num_bytes`, within sensible bounds."""
        size = min(max(num_bytes, SMALLEST), LARGEST)
        if size not in self.read_gbps:
            self.read_gbps[size] = self._measure_read(size)
        return self.read_gbps[size]

    def compute(self, dtype: str) -> float:
        """GFLOP/s of `dtype` arithmetic."""
        if dtype not in self.compute_gflops:
            self.compute_gflops[dtype] = self._measure_compute(dtype)
        return self.compute_gflops[dtype]

    def as_dict(self) -> dict[str, Any]:
        """All that was measured, as the JSON has it."""
        return {"copy_gbps": self.copy_gbps, "read_gbps": self.read_gbps, "compute_gflops": self.compute_gflops}

    @abstractmethod
    def _measure_copy(self, num_bytes: int) -> float: ...

    @abstractmethod
    def _measure_read(self, num_bytes: int) -> float: ...

    @abstractmethod
    def _measure_compute(self, dtype: str) -> float: ...


@dataclass(frozen=True)
class Level:
    """Bandwidth at one level of memory, "L1", "L2", ... or "memory".

    num_bytes: the working set of all threads, half of what the level holds.
    copy_gbps, read_gbps: all threads together; a copy's bytes are read and written ones.
    """

    name: str
    num_bytes: int
    copy_gbps: float
    read_gbps: float


Arithmetic = dict[str, dict[str, float]]
"""GFLOP/s of multiply-adds into float32, by instruction set and dtype of the factors; all threads together."""


class CpuLimits(Limits):
    """fusedops' own loops on all threads: copies, reads, and multiply-adds in registers."""

    @cached_property
    def thread_counts(self) -> list[int]:
        """One, and as many as the operators use."""
        return sorted({1, _core.threads()})

    @cached_property
    def levels(self) -> dict[int, list[Level]]:
        """The bandwidths of each cache and of memory, by threads."""
        return {threads: _levels(threads) for threads in self.thread_counts}

    @cached_property
    def arithmetic(self) -> dict[int, Arithmetic]:
        """The rates of all instruction sets that the CPU has, by threads."""
        return {threads: _core.arithmetic_rates(threads) for threads in self.thread_counts}

    def as_dict(self) -> dict[str, Any]:
        """As of every device, with the levels of memory and the instruction sets."""
        levels = {threads: list(map(asdict, levels)) for threads, levels in self.levels.items()}
        return super().as_dict() | {"levels": levels, "arithmetic_gflops": self.arithmetic}

    def _measure_copy(self, num_bytes: int) -> float:
        return _core.copy_bandwidth(num_bytes // 2, _core.threads())

    def _measure_read(self, num_bytes: int) -> float:
        return _core.read_bandwidth(num_bytes, _core.threads())

    def _measure_compute(self, dtype: str) -> float:
        """The best that any instruction set has for factors of that dtype, which may have to become float32 first."""
        of_factors = {"f32": ["float32"], "f16": ["float32"], "bf16": ["float32", "bfloat16"]}[dtype]
        rates = self.arithmetic[_core.threads()].values()
        return max(of_set[factor] for of_set in rates for factor in of_factors if factor in of_set)


def _levels(threads: int) -> list[Level]:
    sizes = {f"L{cache.level}": working_set(cache, threads) for cache in caches()} | {"memory": LARGEST}
    return [
        Level(name, size, _core.copy_bandwidth(size // 2, threads), _core.read_bandwidth(size, threads))
        for name, size in sizes.items()
    ]


class GpuLimits(Limits):
    """A copy within the device's memory and a large matmul, both the framework's."""

    def __init__(self, framework: Framework) -> None:
        super().__init__()
        self._framework = framework

    def _measure_copy(self, num_bytes: int) -> float:
        values = np.random.default_rng(0).standard_normal(num_bytes // 8, dtype=np.float32)
        array = self._framework.array(values, "f32")
        return num_bytes / self._seconds(self._framework.copy, array) / 1e9

    def _measure_read(self, num_bytes: int) -> float:
        """That of a copy: the frameworks have nothing that only reads and is as fast as memory."""
        return self._measure_copy(num_bytes)

    def _measure_compute(self, dtype: str) -> float:
        values = np.random.default_rng(0).standard_normal((MATMUL_SIZE, MATMUL_SIZE), dtype=np.float32)
        matrix = self._framework.array(values, dtype)
        return 2 * MATMUL_SIZE**3 / self._seconds(lambda a: a @ a, matrix) / 1e9

    def _seconds(self, implementation: Implementation, array: Any) -> float:
        run = self._framework.timed(implementation, array)
        run(1)
        return interleave({"limit": run}, self._framework.sample_seconds)["limit"].median_s
