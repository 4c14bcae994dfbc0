"""doctor and selftest: what they say, and that selftest notices a wrong kernel."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

import pytest

import fusedops
from fusedops.verification import cases, frameworks, selftest


def test_doctor_finds_what_is_here() -> None:
    diagnosis = fusedops.doctor()
    assert diagnosis.facts["fusedops"].startswith(fusedops.__version__)
    assert diagnosis.problems == []
    assert "no problems found" in str(diagnosis)


def test_selftest_passes_here() -> None:
    run = subprocess.run([sys.executable, "-m", "fusedops", "selftest"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    for framework in frameworks.available():
        if framework.operators is fusedops:
            for operator, (_, all_cases) in selftest.CHECKS.items():
                lines = [line for line in run.stdout.splitlines() if line.split()[:2] == [framework.name, operator]]
                assert len(lines) == 1
                assert int(lines[0].split()[2]) >= len(all_cases)


def test_every_metal_kernel_is_among_the_checks() -> None:
    for check, all_cases in selftest.CHECKS.values():

        def names(pairs: Iterable[tuple[Any, str]], check: Any = check) -> set[str]:
            return {launch.name for pair in pairs for launch in selftest.launches(check, *pair)}

        everything = names(itertools.product(all_cases, cases.DTYPES))
        assert names(selftest._selection(check, all_cases)) == everything


def test_a_wrong_kernel_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong:
        def __getattr__(self, name: str) -> Any:
            operator = getattr(fusedops, name)

            def run(*args: Any, **kwargs: Any) -> Any:
                result = operator(*args, **kwargs)
                (result[0] if isinstance(result, tuple) else result)[...] *= 1.1
                return result

            return run

    monkeypatch.setattr(selftest, "available", lambda: [frameworks.NumpyFramework("wrong", Wrong())])
    lines: list[str] = []
    assert not selftest.run(lines.append)
    assert any(line.startswith("  FAILED: ") and "above" in line for line in lines)
    assert "FAILED in" in lines[-1]
