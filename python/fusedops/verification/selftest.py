"""Checks every kernel on every device of this machine against float64."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import fusedops
from fusedops import _core

from . import cases, problems
from .frameworks import Composites, Framework, MetalKernels, NumpyFramework, available

CHECKS: dict[str, tuple[Callable[[Framework, Any, str], None], Sequence[Any]]] = {
    "rms_norm": (problems.check_rms_norm, cases.RMS_NORM_CASES),
    "gelu": (problems.check_gelu, cases.GELU_CASES),
    "geglu": (problems.check_geglu, cases.GEGLU_CASES),
    "sdpa": (problems.check_sdpa, cases.SDPA_CASES),
    "sdpa_varlen": (problems.check_sdpa_varlen, cases.SDPA_VARLEN_CASES),
}


def run(report: Callable[[str], None] = print) -> bool:
    """Run the checks and report each operator on each device in a line; return whether all is well."""
    report(str(fusedops.doctor()))
    start = time.monotonic()
    selected = {operator: list(_selection(*check)) for operator, check in CHECKS.items()}
    failures = 0
    for framework in available():
        if isinstance(framework.operators, Composites):
            continue
        framework.activate()
        for operator, (check, _) in CHECKS.items():
            messages = [message for case in selected[operator] if (message := _failure(check, framework, *case))]
            failures += len(messages)
            passed = len(selected[operator]) - len(messages)
            report(f"{framework.name:<10} {operator:<11} {passed} of {len(selected[operator])} passed")
            for message in messages:
                report(f"  FAILED: {message}")
    report(f"{'all passed' if not failures else f'{failures} FAILED'} in {time.monotonic() - start:.0f} s")
    return not failures


def _failure(check: Callable[[Framework, Any, str], None], framework: Framework, case: Any, dtype: str) -> str:
    """Run one check; what went wrong, in a line, or nothing."""
    try:
        check(framework, case, dtype)
    except Exception as error:  # whatever it is, the report must go on
        return f"{case} {dtype}: {type(error).__name__}: {' '.join(str(error).split())}"
    return ""


def _selection(check: Callable[[Framework, Any, str], None], all_cases: Sequence[Any]) -> Iterator[tuple[Any, str]]:
    """Each case in one dtype, in turn, and in every dtype that brings in a Metal kernel not met before."""
    met: set[str] = set()
    for index, case in enumerate(all_cases):
        for dtype in cases.DTYPES:
            kernels = {launch.name for launch in launches(check, case, dtype)}
            if cases.DTYPES[index % len(cases.DTYPES)] == dtype or not kernels <= met:
                met |= kernels
                yield case, dtype


class _Planned(Exception):
    """Carries a plan out of a check, which then computes nothing."""


def launches(check: Callable[[Framework, Any, str], None], case: Any, dtype: str) -> list[_core.Launch]:
    """Return the launches of the Metal plan that a check would run, computing nothing."""

    def stop(plan: Any, inputs: list[Any]) -> list[Any]:
        raise _Planned(plan)

    try:
        check(NumpyFramework("plans", MetalKernels(stop)), case, dtype)
    except _Planned as planned:
        return list(planned.args[0].launches)
    raise AssertionError("a check runs its operator")
