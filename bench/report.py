"""What comes out: a table on the terminal and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench.limits import Arithmetic, CpuLimits, Level, Limits
from bench.row import Row
from bench.summary import Summary


def print_table(console: Console, title: str, rows: list[Row]) -> None:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("op", no_wrap=True)
    table.add_column("case")
    table.add_column("impl", no_wrap=True)
    for heading in ("time", "spread", "GB/s", "GFLOP/s", "of limit", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    for (op, case), group in groupby(rows, key=lambda row: (row.op, row.case)):
        for index, row in enumerate(group):
            labels = (op, case) if index == 0 else ("", "")
            table.add_row(*labels, row.impl, *_figures(row), style="bold" if row.impl == "fusedops" else None)
        table.add_section()
    console.print(table)


def _figures(row: Row) -> tuple[str, ...]:
    return (
        seconds(row.median_s),
        percent(row.spread),
        _number(row.gbps),
        _number(row.gflops),
        percent(row.limit_share),
        f"{row.ratio:.2f}x",
    )


def seconds(value: float) -> str:
    """Three significant digits with a unit: 1.23 us, 45.6 ms, 7.89 s."""
    units = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
    unit, size = next(((unit, size) for unit, size in units.items() if value >= 0.9995 * size), ("us", 1e-6))
    return f"{_number(value / size)} {unit}"


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 99.95 else f"{value:.3g}"


def print_conditions(console: Console, environment: Mapping[str, Any], limits: Mapping[str, Limits]) -> None:
    """What the numbers are to be read with."""
    lines = ["ratio: time of the framework's own operator / time of this one"]
    for distinct in dict.fromkeys(limits.values()):
        devices = ", ".join(device for device, of_device in limits.items() if of_device is distinct)
        lines += [f"{devices}: {line}" for line in _limit_lines(distinct)]
    lines.append(", ".join(f"{key}: {value}" for key, value in environment.items() if value))
    console.print("\n".join(lines), highlight=False, markup=False)


def _limit_lines(limits: Limits) -> list[str]:
    if isinstance(limits, CpuLimits):
        return [*map(_levels_line, limits.levels.items()), *map(_arithmetic_line, limits.arithmetic.items())]
    copies = ", ".join(f"{_number(gbps)} ({_size(size)})" for size, gbps in sorted(limits.copy_gbps.items()))
    rates = ", ".join(f"{_number(gflops)} ({dtype})" for dtype, gflops in limits.compute_gflops.items())
    lines = {"GB/s of a copy, by bytes read and written": copies, "GFLOP/s of arithmetic": rates}
    return [f"{what}: {figures}" for what, figures in lines.items() if figures]


def _levels_line(item: tuple[int, list[Level]]) -> str:
    threads, levels = item
    figures = ", ".join(f"{level.name} {_number(level.copy_gbps)} / {_number(level.read_gbps)}" for level in levels)
    return f"GB/s of a copy (bytes read and written) / of reading, {_threads(threads)}: {figures}"


def _arithmetic_line(item: tuple[int, Arithmetic]) -> str:
    threads, gflops = item
    figures = ", ".join(
        f"{name} {_number(rate)}" + ("" if dtype == "float32" else f" ({dtype})")
        for name, of_set in gflops.items()
        for dtype, rate in of_set.items()
    )
    return f"GFLOP/s of multiply-adds into float32, {_threads(threads)}: {figures}"


def _threads(count: int) -> str:
    return "1 thread" if count == 1 else f"{count} threads"


def _size(num_bytes: int) -> str:
    return f"{num_bytes // 2**10} KiB" if num_bytes < 2**20 else f"{num_bytes // 2**20} MiB"


def print_summary(console: Console, summary: list[Summary]) -> None:
    """The table that comes last."""
    title = "fusedops against the better of the framework's own operator and, where timed, its compiler"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("device", "kind", "dtype"):
        table.add_column(heading, no_wrap=True)
    for heading in ("cases", "geometric mean", "least"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("in")
    for of_kind in summary:
        ratios = (f"{of_kind.geometric_mean:.2f}x", f"{of_kind.least:.2f}x")
        table.add_row(of_kind.device, of_kind.kind, of_kind.dtype, str(of_kind.cases), *ratios, of_kind.least_case)
    console.print(table)


def write_json(
    path: Path,
    environment: Mapping[str, Any],
    limits: Mapping[str, Limits],
    rows: list[Row],
    summary: list[Summary],
) -> None:
    document = {
        "environment": environment,
        "limits": {device: of_device.as_dict() for device, of_device in limits.items()},
        "rows": [asdict(row) for row in rows],
        "summary": [asdict(of_kind) for of_kind in summary],
    }
    path.write_text(json.dumps(document, indent=2) + "\n")
