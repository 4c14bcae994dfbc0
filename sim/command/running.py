"""The run command: a kernel in several orders, with what it wrote and what is wrong with it."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SimulatorError
from ..run import ORDERS, Cost, Library, build
from .buffers import Array, Buffer, parse_buffers
from .checking import static_findings
from .expectation import parse_expectations
from .report import Results, agreement, differ, summary
from .sources import host_name, metal_source


def run(options: argparse.Namespace) -> int:
    """Run a kernel and print what came of it; 1 if there are findings, else 0. SimulatorError: it could not run."""
    buffers = parse_buffers(options.buffer, options.seed)
    expectations = parse_expectations(options.expect, buffers, options.tolerance, options.modules)
    kernel = host_name(options.kernel)
    library, findings = _build(options, kernel)

    results: dict[str, Results] = {}
    costs: dict[str, Cost | None] = {}
    agreements: list[str] = []
    for order in ORDERS if options.order == "all" else (options.order,):
        results[order], costs[order], found = _launch(library, kernel, buffers, order, options)
        for expectation in expectations:
            is_met, line = expectation.compare(results[order][expectation.index])
            (agreements if is_met else found).append(line)
        findings += found

    first, *_ = results.values()
    names = {parameter.index: parameter.name for parameter in library.kernels[kernel] if parameter.kind == "buffer"}
    for buffer in buffers:
        if any(differ(buffer, result[buffer.index]) for result in results.values()):
            print(summary(first[buffer.index], names.get(buffer.index, "unused"), buffer))
    lines = [*(agreement(results) if len(results) > 1 else []), *agreements, *(findings or ["no findings"])]
    lines = [*_counts(costs), *lines]
    said_once: dict[str, str] = {}
    for line in lines:  # the orders find the same mistake with other threads, bytes and values
        said_once.setdefault(line.partition(" (")[0], line)
    print("\n".join(said_once.values()))
    if options.save:
        _save(options.save, first)
    return int(bool(findings))


def _build(options: argparse.Namespace, kernel: str) -> tuple[Library, list[str]]:
    """The library with the one kernel, and the static findings if they are wanted."""
    named = [options.kernel] if "<" in options.kernel else []
    source = metal_source(options.file, list(dict.fromkeys([*options.instantiate, *named])), options.headers)
    include, defines, only = options.include, options.defines, re.escape(kernel)
    findings = static_findings(options, source, only) if options.check else []
    library = build(
        source,
        include=include,
        defines=defines,
        only=only,
        check=not (options.fast or options.count),
        count=options.count,
    )
    if kernel not in library.kernels:
        raise SimulatorError(f"there is no kernel {kernel!r} in {options.file}; the list command shows all")
    return library, findings


def _launch(
    library: Library, kernel: str, buffers: Sequence[Buffer], order: str, options: argparse.Namespace
) -> tuple[Results, Cost | None, list[str]]:
    """The buffers after one run, what it cost if that is counted, and the lines of its log."""
    results = {buffer.index: buffer.with_data(buffer.data.copy()) for buffer in buffers}
    arguments = {i: buffer.data.tobytes() if buffer.is_value else buffer.data for i, buffer in results.items()}
    cost, log = None, ""
    run: dict[str, Any] = dict(
        threadgroups=options.threadgroups,
        threads=options.threads,
        threads_per_threadgroup=options.threads_per_threadgroup,
        constants=dict(options.constant),
        threadgroup_memory=dict(options.threadgroup_memory),
        order=order,
        seed=options.seed,
        allow=options.allow,
        time_limit=options.time_limit,
    )
    try:
        if options.count:
            cost = library.count(kernel, arguments, **run)
        else:
            log = library.run(kernel, arguments, **run)
    except SimulatorError as error:
        log = str(error)
    return results, cost, log.splitlines()


def _counts(costs: dict[str, Cost | None]) -> list[str]:
    """A line for each counter, once if the orders agree."""
    (first_order, first), *others = costs.items()
    lines = str(first).splitlines() if first else []
    return lines + [
        f"orders differ: {first_order} and {order} in what they cost" for order, cost in others if cost != first
    ]


def _save(path: Path, results: Results) -> None:
    """All buffers as b0, b1, ...; bfloat16 as float32."""
    arrays: dict[str, Array] = {
        f"b{index}": buffer.values().astype(np.float32) if buffer.dtype == "bfloat16" else buffer.data
        for index, buffer in results.items()
    }
    np.savez(path, allow_pickle=False, **arrays)
