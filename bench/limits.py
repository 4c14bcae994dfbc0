"""How fast this machine can be at best: what the shares in the report are shares of. Measured when first asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from bench.framework import Framework, Implementation
from bench.timing import interleave
from fusedops import _core

SMALLEST_COPY = 2**16
LARGEST_COPY = 2**28
MATMUL_SIZE = 8192


class Limits(ABC):
    """Copy bandwidth and arithmetic rate of one device.

    copy_gbps: by bytes moved, read and written ones together. A case is held against the copy that moves as much,
        because caches and the cost of a launch make small ones another matter than large ones.
    compute_gflops: by dtype.
    """

    def __init__(self) -> None:
        self.copy_gbps: dict[int, float] = {}
        self.compute_gflops: dict[str, float] = {}

    def copy(self, bytes_moved: int) -> float:
        """GB/s of a copy that moves `bytes_moved`, rounded up to a power of two within sensible bounds."""
        size = min(max(1 << (bytes_moved - 1).bit_length(), SMALLEST_COPY), LARGEST_COPY)
        if size not in self.copy_gbps:
            self.copy_gbps[size] = self._measure_copy(size)
        return self.copy_gbps[size]

    def compute(self, dtype: str) -> float:
        """GFLOP/s of `dtype` arithmetic."""
        if dtype not in self.compute_gflops:
            self.compute_gflops[dtype] = self._measure_compute(dtype)
        return self.compute_gflops[dtype]

    @abstractmethod
    def _measure_copy(self, bytes_moved: int) -> float: ...

    @abstractmethod
    def _measure_compute(self, dtype: str) -> float: ...


class CpuLimits(Limits):
    """fusedops' own copy and FMA loops on all threads. The FMA rate is float32's, in which 16-bit inputs accumulate."""

    def compute(self, dtype: str) -> float:
        return super().compute("f32")

    def _measure_copy(self, bytes_moved: int) -> float:
        return _core.copy_bandwidth(bytes_moved // 2, _core.threads())

    def _measure_compute(self, dtype: str) -> float:
        return _core.fma_rate(_core.threads())


class GpuLimits(Limits):
    """A copy within the device's memory and a large matmul, both the framework's."""

    def __init__(self, framework: Framework) -> None:
        super().__init__()
        self._framework = framework

    def _measure_copy(self, bytes_moved: int) -> float:
        values = np.random.default_rng(0).standard_normal(bytes_moved // 8, dtype=np.float32)
        array = self._framework.array(values, "f32")
        return bytes_moved / self._seconds(self._framework.copy, array) / 1e9

    def _measure_compute(self, dtype: str) -> float:
        values = np.random.default_rng(0).standard_normal((MATMUL_SIZE, MATMUL_SIZE), dtype=np.float32)
        matrix = self._framework.array(values, dtype)
        return 2 * MATMUL_SIZE**3 / self._seconds(lambda a: a @ a, matrix) / 1e9

    def _seconds(self, implementation: Implementation, array: Any) -> float:
        run = self._framework.timed(implementation, array)
        run(1)
        return interleave({"limit": run}, self._framework.sample_seconds)["limit"].median_s
