"""The counts of bench.counting as tables and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from bench.cases import Sdpa
from bench.counting import Counted, lower_bound
from fusedops.sim import Cost

Counter = Callable[[Cost], int]

COUNTERS: list[tuple[str, Counter]] = [
    ("device bytes loaded, by threads", lambda cost: cost.device_loaded),
    ("  once a threadgroup", lambda cost: cost.device_loaded_by_threadgroups),
    ("  once a launch", lambda cost: cost.device_loaded_distinct),
    ("device bytes stored, by threads", lambda cost: cost.device_stored),
    ("  once a threadgroup", lambda cost: cost.device_stored_by_threadgroups),
    ("  once a launch", lambda cost: cost.device_stored_distinct),
    ("threadgroup bytes loaded", lambda cost: cost.threadgroup_loaded),
    ("threadgroup bytes stored", lambda cost: cost.threadgroup_stored),
    ("fragment multiply-adds", lambda cost: cost.multiply_accumulates),
    ("shuffles (SIMD-group x 32 bits)", lambda cost: cost.shuffles),
    ("reductions (SIMD-group x 32 bits)", lambda cost: cost.reductions),
    ("threadgroup barriers (x SIMD-group)", lambda cost: cost.threadgroup_barriers),
    ("simdgroup barriers", lambda cost: cost.simdgroup_barriers),
    ("exponentials", lambda cost: cost.exponentials),
]

JUDGED: list[tuple[str, Counter]] = [
    ("device bytes, by threads", lambda cost: cost.device_loaded + cost.device_stored),
    ("  once a threadgroup", lambda cost: cost.device_loaded_by_threadgroups + cost.device_stored_by_threadgroups),
    ("  once a launch", lambda cost: cost.device_loaded_distinct + cost.device_stored_distinct),
    ("threadgroup bytes", lambda cost: cost.threadgroup_loaded + cost.threadgroup_stored),
    ("fragment multiply-adds", lambda cost: cost.multiply_accumulates),
    ("shuffles and reductions", lambda cost: cost.shuffles + cost.reductions),
    ("threadgroup barriers", lambda cost: cost.threadgroup_barriers),
    ("barriers of both kinds", lambda cost: cost.threadgroup_barriers + cost.simdgroup_barriers),
    ("exponentials", lambda cost: cost.exponentials),
]
"""What the last table compares, loads and stores added up."""

OURS, PEER = "fusedops", "mlx"


def print_case(console: Console, case: Sdpa, dtype: str, counted: Mapping[str, Counted]) -> None:
    """The launches of each implementation, and all counters beside the lower bound."""
    bound, ours = lower_bound(case, dtype), counted[OURS].cost
    peer = counted[PEER].cost if PEER in counted else None
    lines = [line for name, of in counted.items() for line in _launches(name, of, case.batch * case.kv_heads)]
    table = Table(title="\n".join([f"{case.name}, {dtype}", *lines]), title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for heading in ("lower bound", *counted, f"{OURS}/{PEER}", f"{OURS}/bound"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, counter in COUNTERS:
        counts = (counter(bound), *(counter(of.cost) for of in counted.values()))
        of_peer = ratio(counter(ours), counter(peer)) if peer else ""
        table.add_row(name, *(f"{value:,}" for value in counts), of_peer, ratio(counter(ours), counter(bound)))
    console.print(table)


def _launches(name: str, counted: Counted, heads: int) -> list[str]:
    lines = [
        f"  {name}: {launch.kernel}, {launch.threadgroups} x {launch.threads_per_threadgroup} threads"
        for launch in counted.launches
    ]
    if counted.heads_run == heads:
        return lines
    return [*lines, f"    counted on {counted.heads_run} of {heads} KV heads and multiplied: their launches are alike"]


def print_ratios(console: Console, counted: Mapping[str, Mapping[str, Counted]]) -> None:
    """Our counts over MLX's, a column for each case."""
    table = Table(title=f"{OURS} / {PEER}", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("", no_wrap=True)
    for case in counted:
        table.add_column(case, justify="right")
    for name, counter in JUDGED:
        costs = [(of_case[OURS].cost, of_case[PEER].cost) for of_case in counted.values()]
        table.add_row(name, *(ratio(counter(ours), counter(peer)) for ours, peer in costs))
    console.print(table)


def ratio(count: int, other: int) -> str:
    """Such as 0.98x; nothing where there is nothing to compare with."""
    return f"{count / other:.3f}x" if other else ""


def write_costs(path: Path, counted: Mapping[str, Mapping[str, Counted]], environment: Mapping[str, Any]) -> None:
    document = {
        "environment": environment,
        "cases": {
            case: {name: asdict(of_implementation) for name, of_implementation in of_case.items()}
            for case, of_case in counted.items()
        },
    }
    path.write_text(json.dumps(document, indent=2) + "\n")
