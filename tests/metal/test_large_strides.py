"""Attention's index arithmetic beyond 2^31 elements: views that span many GiB, of which few pages are ever touched."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fusedops
from fusedops.backends.plans import ArrayLayout
from fusedops.sim import build
from fusedops.sim.run.arguments import InPlace
from fusedops.verification import reference

FAR = 2**31 + 64  # elements


class Sparse:
    """An array of the given strides in a file with holes: only what is written takes memory. Rows are contiguous."""

    def __init__(self, file: Path, values: NDArray[Any], strides: tuple[int, ...]) -> None:
        reach = sum((extent - 1) * stride for extent, stride in zip(values.shape, strides, strict=True)) + 1
        self.memory = np.memmap(file, values.dtype, "w+", shape=(reach,))
        self.layout = ArrayLayout(values.dtype.name, values.shape, strides)
        for index in itertools.product(*map(range, values.shape[:-1])):
            start = sum(i * stride for i, stride in zip(index, strides[:-1], strict=True))
            self.memory[start : start + values.shape[-1]] = values[index]

    def buffer(self) -> InPlace:
        return InPlace(self.memory.ctypes.data)


def run(plan: Any, inputs: list[Sparse | None]) -> NDArray[Any]:
    """Carry a plan out without copying its inputs, and return the first output."""
    buffers = {
        "INPUT": [None if array is None else array.buffer() for array in inputs],
        "OUTPUT": [np.full(shape, np.nan, dtype) for dtype, shape in plan.outputs],
        "SCRATCH": [np.full(shape, np.nan, dtype) for dtype, shape in plan.scratch],
    }
    for launch in plan.launches:
        build(launch.text).run(
            launch.name,
            [*(buffers[binding.role.name][binding.index] for binding in launch.buffers), launch.parameters],
            threadgroups=launch.threadgroups,
            threads_per_threadgroup=launch.threads_per_threadgroup,
        )
    return buffers["OUTPUT"][0]


@pytest.mark.parametrize("queries", [1, 40])  # the decode kernel and the prefill kernel
@pytest.mark.parametrize("far", ["batch", "head", "row"])
def test_pain_4_strides_beyond_32_bits(tmp_path: Path, queries: int, far: str) -> None:
    """Sequences, heads, or neighbouring rows far from each other: all of q, k, v and the mask, read where they lie."""
    random = np.random.default_rng(0)
    batch, heads, keys, dim = 2, 2, 70, 64

    def sparse(name: str, values: NDArray[Any]) -> Sparse:
        rows, columns = values.shape[2:]
        row, head = {"batch": (columns, rows * columns), "head": (columns, FAR), "row": (FAR // 32, columns)}[far]
        return Sparse(tmp_path / name, values, (FAR if far == "batch" else heads * head, head, row, 1))

    q, k, v = (random.normal(size=(batch, heads, n, dim)).astype(np.float16) for n in (queries, keys, keys))
    mask = random.random((batch, heads, queries, keys)) < 0.6
    inputs = [sparse(*named) for named in {"q": q, "k": k, "v": v, "mask": mask}.items()]
    layouts = [array.layout for array in inputs]
    out = run(fusedops.sdpa(*layouts[:3], mask=layouts[3]), [*inputs, None])
    exact, _ = reference.sdpa(*(x.astype(np.float64) for x in (q, k, v)), mask=mask)
    np.testing.assert_allclose(out, exact, atol=2e-3)


@pytest.mark.parametrize("queries", [2, 40])
@pytest.mark.parametrize("far", ["row", "head"])
def test_pain_4_packed_sequences_far_apart(tmp_path: Path, queries: int, far: str) -> None:
    random = np.random.default_rng(0)
    heads, keys, dim = 2, 70, 64

    def sparse(name: str, values: NDArray[Any]) -> Sparse:
        strides = (FAR // 32, dim, 1) if far == "row" else (dim, FAR, 1)
        return Sparse(tmp_path / name, values, strides if values.ndim == 3 else (1,))

    q, k, v = (random.normal(size=(n, heads, dim)).astype(np.float16) for n in (queries, keys, keys))
    offsets = [np.array([0, 1, n], np.int32) for n in (queries, keys)]
    named = {"q": q, "k": k, "v": v, "cu_seqlens_q": offsets[0], "cu_seqlens_k": offsets[1]}
    inputs = [sparse(*item) for item in named.items()]
    longest = {"max_seqlen_q": queries, "max_seqlen_k": keys}
    out = run(fusedops.sdpa_varlen(*(array.layout for array in inputs), **longest), [*inputs, None])
    exact, _ = reference.sdpa_varlen(*(x.astype(np.float64) for x in (q, k, v)), *offsets)
    np.testing.assert_allclose(out, exact, atol=2e-3)


@pytest.mark.parametrize(("queries", "kernel"), [(1, "sdpa_decode"), (4096, "sdpa_prefill")])
def test_pain_3_plans_for_more_than_2_32_scores(queries: int, kernel: str) -> None:
    """Plans for a million keys: scratch memory stays small beside them, and what cannot be counted is refused."""

    def layout(*shape: int) -> ArrayLayout:
        return ArrayLayout("float16", shape, tuple(math.prod(shape[i + 1 :]) for i in range(4)))

    keys = 2**20 + 7
    k = layout(64, 8, keys, 128)  # 2^36 elements
    plan = fusedops.sdpa(layout(64, 32, queries, 128), k, k, causal=True)
    assert plan.launches[0].kernel.startswith(kernel)
    scratch = sum(4 * math.prod(shape) for _, shape in plan.scratch)
    assert scratch < 0.01 * 2 * 2 * math.prod(k.shape)
    with pytest.raises(ValueError, match="key_length must be at most 2147482623 on a GPU, got 2147482624"):
        fusedops.sdpa(layout(1, 8, 1, 128), layout(1, 8, 2147482624, 128), layout(1, 8, 2147482624, 128))
    with pytest.raises(ValueError, match="query_length times the query heads of a KV head must be at most"):
        fusedops.sdpa(layout(1, 8, 2**29, 128), layout(1, 1, 8, 128), layout(1, 1, 8, 128))
