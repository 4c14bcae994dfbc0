"""Clang and our dialect find nothing in any kernel that the shared cases need."""

from __future__ import annotations

from typing import Any

import pytest

from fusedops import sim
from fusedops.verification import cases, selftest
from fusedops.verification.frameworks import MetalKernels, NumpyFramework


class _Stop(Exception):
    pass


def variants() -> dict[str, str]:
    """Return the texts of all kernels that the shared cases need, by name."""
    texts: dict[str, str] = {}

    def collect(plan: Any, inputs: list[Any]) -> list[Any]:
        texts.update({launch.name: launch.text for launch in plan.launches})
        raise _Stop

    framework = NumpyFramework("plans", MetalKernels(collect))
    for check, all_cases in selftest.CHECKS.values():
        for case in all_cases:
            for dtype in cases.DTYPES:
                with pytest.raises(_Stop):
                    check(framework, case, dtype)
    return texts


def test_no_findings() -> None:
    texts = variants()
    assert len(texts) > 40
    for name, text in texts.items():
        assert sim.check(text) == [], name
