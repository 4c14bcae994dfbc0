"""Prints who notices each barrier of the kernels when it is deleted, or waits without ordering memory.

    python tests/metal/mutations.py

The orders run without checks of memory, so that only wrong results and divergence can show there; "checks" is the race
and initialisation check in one order. tests/metal/test_barriers.py requires that the checks notice every deletion.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

from test_barriers import BARRIER, CALLS, barriers, check

from fusedops.sim import ORDERS, SimulatorError, build
from fusedops.sim.plans import run_plan
from fusedops.verification.frameworks import MetalKernels, NumpyFramework

Change = Callable[[re.Match[str]], str]
CHANGES: dict[str, Change] = {
    "deleted": lambda barrier: "",
    "mem_none": lambda barrier: re.sub(r"mem_flags::\w+", "mem_flags::mem_none", barrier[0]),
}


def mutated(text: str, number: int, change: Change) -> str:
    """Return the text with one barrier changed."""
    barrier = list(BARRIER.finditer(text))[number]
    return text[: barrier.start()] + change(barrier) + text[barrier.end() :]


def outcome(source: str, number: int, change: Change, order: str, checked: bool) -> str:
    """Run a file's calls with one barrier changed: what is noticed, or a dash."""

    @functools.cache
    def library(text: str, is_source: bool) -> Any:
        return build(mutated(text, number, change) if is_source else text, check=checked)

    def run(plan: Any, inputs: list[Any]) -> list[Any]:
        sources = {launch.text: launch.source == source for launch in plan.launches}
        return run_plan(plan, inputs, library=lambda text: library(text, sources[text]), order=order)

    try:
        for case in CALLS[source]:
            check(NumpyFramework("metal-simulator", MetalKernels(run)), case)
    except SimulatorError as error:
        return "race" if "race" in str(error) else "uninitialised" if "uninit" in str(error) else "error"
    except AssertionError:
        return "wrong"
    return "-"


def main() -> None:
    """Print the table."""
    print(f"{'kernel':20} {'barrier':>7} {'change':9}", *(f"{order:9}" for order in ORDERS), "checks")
    for source, number in barriers():
        for name, change in CHANGES.items():
            orders = [outcome(source, number, change, order, checked=False) for order in ORDERS]
            checks = outcome(source, number, change, "forward", checked=True)
            print(f"{source:20} {number + 1:7} {name:9}", *(f"{result:9}" for result in orders), checks, flush=True)


if __name__ == "__main__":
    main()
