"""Every barrier of the kernels is needed, and its absence is noticed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fusedops.sim import SimulatorError, build
from fusedops.sim.plans import run_plan
from fusedops.verification import problems
from fusedops.verification.cases import RmsNormCase, SdpaCase
from fusedops.verification.frameworks import MetalKernels, NumpyFramework

METAL = Path(__file__).parents[2] / "metal"
BARRIER = re.compile(r"\b(threadgroup|simdgroup)_barrier\(mem_flags::\w+\);")

# Calls that pass through all of a file's barriers.
CALLS: dict[str, list[Any]] = {
    "rms_norm": [RmsNormCase((3, 4096))],
    "sdpa_combine": [SdpaCase(1, (2, 1), (1, 1100), (64, 64))],
    "sdpa_decode_matrix": [SdpaCase(17, (4, 2), (1, 100), (64, 200))],
    "sdpa_decode_vector": [SdpaCase(1, (2, 2), (1, 100), (64, 64))],
    "sdpa_prefill": [SdpaCase(1, (2, 2), (40, 100), (64, 64), causal=True)],
}


def barriers() -> list[tuple[str, int]]:
    """Return the barriers of all kernels: (file, number within it)."""
    texts = {path.stem: path.read_text() for path in sorted(METAL.glob("*.metal"))}
    return [(source, number) for source, text in texts.items() for number in range(len(BARRIER.findall(text)))]


def framework(source: str, change: Any) -> NumpyFramework:
    """Return the Metal kernels in the simulator, the text of one file changed."""

    def run(plan: Any, inputs: list[Any]) -> list[Any]:
        texts = {launch.text: launch.source == source for launch in plan.launches}
        return run_plan(plan, inputs, library=lambda text: build(change(text) if texts[text] else text, check=True))

    return NumpyFramework("metal-simulator", MetalKernels(run))


def check(under_test: NumpyFramework, case: Any) -> None:
    """Run a case and judge it."""
    (problems.check_rms_norm if isinstance(case, RmsNormCase) else problems.check_sdpa)(under_test, case, "float32")


def test_every_file_with_barriers_has_calls() -> None:
    assert {source for source, _ in barriers()} == set(CALLS)


@pytest.mark.parametrize("source", CALLS)
def test_the_calls_pass_unchanged(source: str) -> None:
    for case in CALLS[source]:
        check(framework(source, lambda text: text), case)


@pytest.mark.parametrize(("source", "number"), barriers())
def test_a_deleted_barrier_is_noticed(source: str, number: int) -> None:
    def without(text: str) -> str:
        barrier = list(BARRIER.finditer(text))[number]
        return text[: barrier.start()] + text[barrier.end() :]

    under_test = framework(source, without)
    with pytest.raises((SimulatorError, AssertionError)):
        for case in CALLS[source]:
            check(under_test, case)
