"""What comes out: a table on the terminal and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench.limits import Limits


@dataclass(frozen=True)
class Row:
    """One implementation of one case. All keys are in the JSON of every row, null where they mean nothing.

    op: the function of fusedops. case: the shape and the flags. dtype: "f32", "f16" or "bf16".
    device: "cpu", "cuda" or "mps" (torch), "mlx-cpu" or "mlx-gpu" (MLX).
    impl: "fusedops"; the framework's own operator, "torch" or "mlx"; "composite" or "matmul+softmax" by hand;
        "torch.compile" or "mx.compile", the framework's own through its compiler.
    median_s, spread: see bench.timing.Timing; spread is null with fewer than three samples.
    gbps: compulsory bytes / median_s. gflops: operations of the matrix products / median_s; null without any.
    limit_share: prefill's gflops / the FMA or matmul rate; else gbps / the bandwidth of a copy of as many bytes,
        which decode may exceed, because it hardly writes.
    gbps, gflops and limit_share are null in the overhead suite, where next to nothing is computed.
    ratio: the framework's own operator's median_s / this one's: above 1 is faster.
    """

    op: str
    case: str
    dtype: str
    device: str
    impl: str
    median_s: float
    spread: float | None
    gbps: float | None
    gflops: float | None
    limit_share: float | None
    ratio: float


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
        copies = ", ".join(f"{_number(gbps)} ({_size(size)})" for size, gbps in sorted(distinct.copy_gbps.items()))
        rates = ", ".join(f"{_number(gflops)} ({dtype})" for dtype, gflops in distinct.compute_gflops.items())
        if copies:
            lines.append(f"{devices}: GB/s of a copy, by bytes read and written: {copies}")
        if rates:
            lines.append(f"{devices}: GFLOP/s of arithmetic: {rates}")
    lines.append(", ".join(f"{key}: {value}" for key, value in environment.items() if value))
    console.print("\n".join(lines), highlight=False, markup=False)


def _size(num_bytes: int) -> str:
    return f"{num_bytes // 2**10} KiB" if num_bytes < 2**20 else f"{num_bytes // 2**20} MiB"


def write_json(path: Path, environment: Mapping[str, Any], limits: Mapping[str, Limits], rows: list[Row]) -> None:
    document = {
        "environment": environment,
        "limits": {
            device: {"copy_gbps": of_device.copy_gbps, "compute_gflops": of_device.compute_gflops}
            for device, of_device in limits.items()
        },
        "rows": [asdict(row) for row in rows],
    }
    path.write_text(json.dumps(document, indent=2) + "\n")
