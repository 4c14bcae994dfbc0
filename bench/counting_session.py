"""A whole run of `--device sim`: every case is counted, then the tables."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from bench.cases import Sdpa
from bench.cost_report import OURS, PEER, print_case, print_ratios, write_costs
from bench.counting import Counted, Implementation, count, fusedops_launches, mlx_launches
from bench.environment import environment
from bench.mlx_kernels import installed_headers
from bench.session import WIDTH_OF_FILES


def run(cases: list[Sdpa], dtypes: list[str], json_path: Path | None) -> None:
    """Counts the cases, and prints and writes what comes out. Raises bench.reference.WrongResult."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH_OF_FILES)
    implementations: dict[str, Implementation] = {OURS: fusedops_launches}
    if headers := installed_headers():
        implementations[PEER] = mlx_launches(headers)
    else:
        console.print("left out: mlx, whose package is not installed or carries no kernel headers")
    counted: dict[str, dict[str, Counted]] = {}
    for dtype in dtypes:
        for case in cases:
            of_case = counted[f"{case.name}, {dtype}"] = count(case, dtype, implementations)
            print_case(console, case, dtype, of_case)
    if headers:
        print_ratios(console, counted)
    if json_path:
        write_costs(json_path, counted, environment([]))
