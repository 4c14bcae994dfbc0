"""The kernels of the usual shapes compiled for Apple's GPUs, against the numbers that agx_baseline/ holds.

They are skipped without the compiler of the record: docs/agx.md. FUSEDOPS_REGENERATE_GOLDEN=1 writes the files anew;
the difference belongs in the commit that makes it.
"""

import contextlib
import difflib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from agx_compiler import RECORDED, need_compiler

import fusedops
from fusedops import _core
from fusedops.sim import SimulatorError
from fusedops.sim.agx import KernelCode, registers

BASELINE = Path(__file__).parent / "agx_baseline"
DTYPES: dict[str, Any] = {"float": np.float32, "half": np.float16, "bfloat": ml_dtypes.bfloat16}
HEAD_DIMS = (64, 80, 96, 128, 256)
BOUNDS = (None, 448, 384)  # of threads: the kernel's own, and what is tried after a crash of Mesa's
COLUMNS = (
    *("instructions", "bytes", "registers", "threads", "spills", "fills", "scratch", "arrays"),
    *("loop", "loads", "stores", "tg loads", "tg stores", "matrices", "spills", "fills", "cycles"),
    "unrolling",
)


def plans(dtype: Any) -> Iterator[_core.Plan]:
    """Of calls as models make them."""

    def plan(operator: str, *shapes: tuple[int, ...], **options: Any) -> _core.Plan:
        return fusedops.explain(operator, *(np.zeros(shape, dtype) for shape in shapes), **options).plan

    def sdpa(heads: int, kv_heads: int, queries: int, keys: int, dim: int, **options: Any) -> _core.Plan:
        shape = (1, kv_heads, keys, dim)
        return plan("sdpa", (1, heads, queries, dim), shape, shape, **options)

    yield plan("rms_norm", (4, 4096), (4096,))
    yield plan("rms_norm", (4, 4095), (4095,))
    yield plan("rms_norm", (4, 4096), (4096,), residual=np.zeros((4, 4096), np.float32))
    yield plan("gelu", (4, 4096))
    yield plan("geglu", (4, 4096), (4, 4096))
    for dim in HEAD_DIMS:
        yield sdpa(32, 32, 1, 4096, dim)
        yield sdpa(32, 8, 1, 4096, dim)
        yield sdpa(32, 8, 1, 512, dim)
        yield sdpa(32, 8, 512, 512, dim, causal=True)


def row(name: str, text: str) -> list[str]:
    """A kernel's numbers, and those of the loop that takes longest."""
    for bound in BOUNDS:
        with contextlib.suppress(SimulatorError):
            code = registers(text, name, most_threads=bound)
            return [f"{name} at {bound} threads" if bound else name, *map(str, numbers(code))]
    return [name, "does not compile"]


def numbers(code: KernelCode) -> Iterator[int | str]:
    yield from (code.instructions, code.code_bytes, code.registers, code.threads)
    yield from (code.spills, code.fills, code.scratch_bytes, code.arrays)
    if loop := code.longest_loop:
        yield from (loop.instructions, loop.device_loads, loop.device_stores)
        yield from (loop.threadgroup_loads, loop.threadgroup_stores, loop.matrix_operations)
        yield from (loop.spills, loop.fills, loop.issue_cycles)
    else:
        yield from "-" * 9
    yield code.unroll_threshold


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_kernel_is_as_recorded(dtype: str) -> None:
    need_compiler(RECORDED)
    texts = {launch.name: launch.text for plan in plans(DTYPES[dtype]) for launch in plan.launches}
    rows = [["kernel", *COLUMNS], *(row(name, text) for name, text in texts.items())]
    lines = [RECORDED, *("\t".join(cells) for cells in rows)]
    path = BASELINE / f"{dtype}.tsv"
    if os.environ.get("FUSEDOPS_REGENERATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(lines) + "\n")
    expected = path.read_text().splitlines()
    difference = "\n".join(difflib.unified_diff(expected, lines, path.name, "compiled now", lineterm="", n=0))
    assert not difference, f"\n{difference}\nFUSEDOPS_REGENERATE_GOLDEN=1 accepts this"
