"""Every backend computes what docs/semantics.md says: the shared cases, in every dtype, against float64."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from fusedops.verification import cases, problems
from fusedops.verification.frameworks import Framework, everywhere

EVERYWHERE = everywhere()
TAKES_MOST_OF_THE_TIME = "metal-simulator"


def on_each(all_cases: Sequence[Any], frameworks: Sequence[Framework] = EVERYWHERE) -> Any:
    """Return the mark that runs a test for every case on every framework in every dtype.

    On the simulator each case takes one of the 16-bit types by default, in turn: both are the same templates. `make
    fuzz` takes the other, too.
    """
    problems_of_all = []
    for index, case in enumerate(all_cases):
        in_turn = ("float16", "bfloat16")[index % 2]
        for framework in frameworks:
            for dtype in cases.DTYPES:
                is_left = framework.name == TAKES_MOST_OF_THE_TIME and dtype not in ("float32", in_turn)
                marks = [pytest.mark.fuzz] if is_left else []
                problems_of_all.append(
                    pytest.param(framework, case, dtype, id=f"{case}-{framework}-{dtype}", marks=marks)
                )
    return pytest.mark.parametrize(("framework", "case", "dtype"), problems_of_all)


@on_each(cases.RMS_NORM_CASES)
def test_rms_norm(framework: Framework, case: cases.RmsNormCase, dtype: str) -> None:
    problems.check_rms_norm(framework, case, dtype)


@on_each(cases.RMS_NORM_EXTREME_CASES, [framework for framework in EVERYWHERE if not framework.runs_metal])
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # where float16 holds no such numbers
def test_rms_norm_of_any_magnitude(framework: Framework, case: cases.RmsNormCase, dtype: str) -> None:
    problems.check_rms_norm(framework, case, dtype)


@on_each(cases.GELU_CASES)
def test_gelu(framework: Framework, case: cases.GeluCase, dtype: str) -> None:
    problems.check_gelu(framework, case, dtype)


@on_each(cases.GEGLU_CASES)
def test_geglu(framework: Framework, case: cases.GegluCase, dtype: str) -> None:
    problems.check_geglu(framework, case, dtype)


@on_each(cases.SDPA_CASES)
def test_sdpa(framework: Framework, case: cases.SdpaCase, dtype: str) -> None:
    problems.check_sdpa(framework, case, dtype)


@on_each(cases.SDPA_VARLEN_CASES)
def test_sdpa_varlen(framework: Framework, case: cases.SdpaVarlenCase, dtype: str) -> None:
    problems.check_sdpa_varlen(framework, case, dtype)
