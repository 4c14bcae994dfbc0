"""A whole run: every case on every device in every dtype, then the report."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from bench.cases import Case
from bench.environment import environment
from bench.framework import Framework, open_framework
from bench.limits import CpuLimits, GpuLimits, Limits
from bench.measure import measure
from bench.progress import progress
from bench.report import print_conditions, print_summary, print_table, write_json
from bench.row import Row
from bench.summary import summarise

WIDTH_OF_FILES = 132


def run(
    cases: dict[str, list[Case]],
    dtypes: list[str],
    compiled: bool,
    budget_seconds: float,
    json_path: Path | None,
) -> None:
    """Times the cases of each device, and prints and writes what comes out. Raises bench.reference.WrongResult."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH_OF_FILES)
    frameworks: dict[str, Framework] = {}
    limits: dict[str, Limits] = {}
    cpu_limits = CpuLimits()
    measured: list[tuple[Case, list[Row]]] = []
    with progress(console, len(dtypes) * sum(map(len, cases.values()))) as begin:
        for device, of_device in cases.items():
            framework = frameworks[device] = open_framework(device)
            limits[device] = cpu_limits if framework.on_cpu else GpuLimits(framework)
            for dtype in dtypes:
                of_dtype: list[Row] = []
                for case in of_device:
                    begin(f"{device} {dtype} {case.op} {case.name}")
                    with framework.without_gradients():
                        rows = measure(case, dtype, framework, limits[device], compiled, budget_seconds)
                    measured.append((case, rows))
                    of_dtype += rows
                print_table(console, f"{device} {dtype}", of_dtype)
    here, summary = environment(frameworks.values()), summarise(measured)
    print_conditions(console, here, limits)
    print_summary(console, summary)
    if json_path:
        write_json(json_path, here, limits, [row for _, rows in measured for row in rows], summary)
