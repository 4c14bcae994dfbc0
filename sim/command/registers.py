"""The registers command: what kernels take of Apple's M1 and M2 GPUs."""

import argparse
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

from ..agx import UNROLL_THRESHOLDS, KernelCode, Loop, find_tools, registers, settings
from ..errors import SimulatorError
from ..translate import parse
from .sources import host_name, metal_source, resolve_mlx

_WORDS = {
    "instructions": "instructions",
    "code_bytes": "bytes of code",
    "registers": "half-registers of 256",
    "uniforms": "uniform half-registers",
    "threads": "threads a core",
    "spills": "spills",
    "fills": "fills",
    "scratch_bytes": "bytes of scratch",
    "arrays": "arrays left",
}
_LOOP_WORDS = {
    "instructions": "instructions",
    "device_loads": "device loads",
    "device_stores": "device stores",
    "threadgroup_loads": "threadgroup loads",
    "threadgroup_stores": "threadgroup stores",
    "matrix_operations": "matrix operations",
    "spills": "spills",
    "fills": "fills",
    "issue_cycles": "issue cycles",
}
assert list(_WORDS) == [field.name for field in fields(KernelCode) if field.name not in ("loops", "unroll_threshold")]
assert list(_LOOP_WORDS) == [field.name for field in fields(Loop) if field.name != "depth"]


def show_registers(options: argparse.Namespace) -> int:
    """Print what each kernel takes, or two side by side. SimulatorError: one cannot be compiled."""
    tools = find_tools()
    if options.compare and len(options.kernels) != 1:
        raise SimulatorError("--compare takes one KERNEL beside its own")
    codes = _compiled(options, options.kernels)
    if options.compare:
        other = _other(options)
        codes = [*codes, *_compiled(other, other.kernels)]
        print("\n".join(_comparison(codes)))
    else:
        print("\n\n".join("\n".join(_paragraph(name, code)) for name, code in codes))
    print(f"\n{settings(tools)}; issue cycles by metal-benchmarks' throughputs, loads as one")
    return 0


def _other(options: argparse.Namespace) -> argparse.Namespace:
    """The options for the file and the kernel of --compare."""
    file, kernel = options.compare
    other = argparse.Namespace(**{**vars(options), "file": Path(file), "kernels": [kernel], "instantiate": []})
    resolve_mlx(other)
    other.include = [*other.include, other.file.absolute().parent]
    return other


def _compiled(options: argparse.Namespace, kernels: Sequence[str]) -> list[tuple[str, KernelCode]]:
    """The named kernels of a file, else all, each with its name."""
    named = [kernel for kernel in kernels if "<" in kernel]
    source = metal_source(options.file, list(dict.fromkeys([*options.instantiate, *named])), options.headers)
    names = [host_name(kernel) for kernel in kernels]
    if not names:
        unit = parse(source, include=options.include, defines=options.defines)
        found = [kernel.host_name for kernel in unit.kernels if not kernel.is_template]
        names = list(dict.fromkeys([*found, *(instantiation.host_name for instantiation in unit.instantiations)]))
    if not names:
        raise SimulatorError(f"{options.file} instantiates no kernel; name one as 'NAME<...>'")

    def compiled(name: str) -> KernelCode:
        return registers(
            source,
            name,
            include=options.include,
            defines=options.defines,
            constants=dict(options.constant),
            most_threads=options.threads,
        )

    with ThreadPoolExecutor() as pool:  # the work is done by other processes
        return list(zip(names, pool.map(compiled, names), strict=True))


def _paragraph(name: str, code: KernelCode) -> Iterator[str]:
    threshold = code.unroll_threshold
    yield name + (f" (unrolling threshold {threshold})" if threshold != UNROLL_THRESHOLDS[0] else "")
    yield (
        f"  {code.instructions} instructions, {code.code_bytes} bytes of code, {code.registers} half-registers of 256, "
        f"{code.uniforms} uniform ones, {code.threads} threads a core"
    )
    yield (
        f"  {code.spills}:{code.fills} spills:fills, {code.scratch_bytes} bytes of scratch, {code.arrays} arrays left"
    )
    if code.loops:
        rows = [["loop", *_LOOP_WORDS.values()]]
        for number, loop in enumerate(code.loops, 1):
            counts = (str(getattr(loop, field)) for field in _LOOP_WORDS)
            rows.append(["  " * loop.depth + str(number), *counts])
        yield from _table(rows)


def _comparison(codes: Sequence[tuple[str, KernelCode]]) -> Iterator[str]:
    """A row for each number and for each number of the loop that takes longest, with the ratio."""
    (left_name, left), (right_name, right) = codes
    rows = [["", left_name, right_name, "ratio"]]
    rows += [_compared(words, getattr(left, field), getattr(right, field)) for field, words in _WORDS.items()]
    if left.longest_loop and right.longest_loop:
        loops = (left.longest_loop, right.longest_loop)
        rows += [
            _compared(f"longest loop: {words}", *(getattr(loop, field) for loop in loops))
            for field, words in _LOOP_WORDS.items()
        ]
        if all(loop.matrix_operations for loop in loops):
            each = (loop.issue_cycles / loop.matrix_operations for loop in loops)
            rows.append(_compared("longest loop: issue cycles a matrix operation", *each))
    yield from _table(rows)


def _compared(words: str, left: float, right: float) -> list[str]:
    ratio = f"{left / right:.2f}" if right else "-"
    return [words, f"{left:.6g}", f"{right:.6g}", ratio]


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns two spaces apart: the first to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = (text.rjust(width) for text, width in zip(others, widths[1:], strict=True))
        yield "  ".join(["  " + first.ljust(widths[0]), *cells])
