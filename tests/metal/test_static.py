"""Clang and our dialect find nothing in any kernel that the shared cases need."""

from __future__ import annotations

from fusedops import sim
from fusedops.verification import cases, selftest


def variants() -> dict[str, str]:
    """Return the texts of all kernels that the shared cases need, by name."""
    return {
        launch.name: launch.text
        for check, all_cases in selftest.CHECKS.values()
        for case in all_cases
        for dtype in cases.DTYPES
        for launch in selftest.launches(check, case, dtype)
    }


def test_no_findings() -> None:
    texts = variants()
    assert len(texts) > 40
    for name, text in texts.items():
        assert sim.check(text) == [], name
