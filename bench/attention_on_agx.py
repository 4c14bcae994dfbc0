"""What attention takes of Apple's M1 and M2 GPUs, fusedops' kernels beside MLX's, as a table in Markdown.

    python bench/attention_on_agx.py --dtype f16

Both as they are launched on a Mac, MLX's with their function constants. Needs the compiler of docs/agx.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

if not __package__:  # run as a script: Python then looks for modules in bench/ instead of beside it
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench.cases import Sdpa, decode, prefill
from bench.counting import DTYPES, Implementation, fusedops_launches, mlx_launches
from bench.mlx_kernels import installed_headers
from fusedops.sim import KernelCode, SimulatorError, registers
from fusedops.sim.agx import find_tools, settings
from fusedops.sim.run import BoundLaunch

HEAD_DIMS = (64, 80, 96, 128, 256)
HEAD = ("kernel", "instructions", "KB", "half-registers", "threads", "spills:fills")
LOOP_HEAD = ("in the loop: instructions", "cycles", "cycles a matrix", "spills:fills")


def cases(head_dim: int) -> Iterator[Sdpa]:
    """A prompt, a token over few and over many keys, and the same with a group of query heads."""
    yield prefill(512, head_dim=head_dim)
    for keys in (512, 4096):
        case = decode(keys)
        yield replace(case, head_dim=head_dim)
        yield replace(case, head_dim=head_dim, kv_heads=case.query_heads // 4)


def launches(dtype: str, implementation: Implementation) -> Iterator[BoundLaunch]:
    """Those of all cases that an implementation has kernels for."""
    for head_dim in HEAD_DIMS:
        for case in cases(head_dim):
            arrays = [np.zeros(shape, DTYPES[dtype]) for shape in case.shapes.values()]
            try:
                found, _ = implementation(case, arrays)
            except ValueError:  # MLX takes composites for some head_dims
                continue
            yield from found


def compiled(launch: BoundLaunch) -> KernelCode | str:
    """What a kernel takes, or why that is not known."""
    try:
        return registers(launch.text, launch.kernel, include=launch.include, constants=launch.constants)
    except SimulatorError as error:
        return str(error).removeprefix(f"{launch.kernel}: ").partition(",")[0]


def row(kernel: str, code: KernelCode | str) -> list[str]:
    """A line of the table; of loops the one with the most issue cycles."""
    if isinstance(code, str):
        return [kernel, code]
    cells = [code.instructions, f"{code.code_bytes / 1024:.1f}", code.registers, code.threads]
    cells = [kernel, *map(str, cells), f"{code.spills}:{code.fills}"]
    if loop := code.longest_loop:
        matrices = loop.matrix_operations
        each = f"{loop.issue_cycles / matrices:.1f}" if matrices else "-"
        cells += [str(loop.instructions), str(loop.issue_cycles), each, f"{loop.spills}:{loop.fills}"]
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dtype", choices=DTYPES, default="f16")
    options = parser.parse_args()
    try:
        print(f"{settings(find_tools())}; {options.dtype}\n")
    except SimulatorError as error:
        sys.exit(str(error))
    print("|".join(["", *HEAD, *LOOP_HEAD, ""]))
    print("|---" * len(HEAD + LOOP_HEAD) + "|")
    headers = installed_headers()
    for implementation in (fusedops_launches, *([mlx_launches(headers)] if headers else [])):
        found = {launch.kernel: launch for launch in launches(options.dtype, implementation)}
        with ThreadPoolExecutor() as pool:
            for kernel, code in zip(found, pool.map(compiled, found.values()), strict=True):
                print(f"| {' | '.join(row(kernel, code))} |")


if __name__ == "__main__":
    main()
