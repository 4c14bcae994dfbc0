"""Every backend computes what docs/semantics.md says: the shared cases, in every dtype, against float64."""

from __future__ import annotations

import pytest

from fusedops.verification import cases, problems
from fusedops.verification.frameworks import Framework, everywhere

pytestmark = pytest.mark.parametrize("dtype", cases.DTYPES)
on_every_backend = pytest.mark.parametrize("framework", everywhere(), ids=str)


@on_every_backend
@pytest.mark.parametrize("case", cases.RMS_NORM_CASES, ids=str)
def test_rms_norm(framework: Framework, case: cases.RmsNormCase, dtype: str) -> None:
    problems.check_rms_norm(framework, case, dtype)


@pytest.mark.parametrize("framework", [f for f in everywhere() if not f.runs_metal], ids=str)
@pytest.mark.parametrize("case", cases.RMS_NORM_EXTREME_CASES, ids=str)
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # where float16 holds no such numbers
def test_rms_norm_of_any_magnitude(framework: Framework, case: cases.RmsNormCase, dtype: str) -> None:
    problems.check_rms_norm(framework, case, dtype)


@on_every_backend
@pytest.mark.parametrize("case", cases.GELU_CASES, ids=str)
def test_gelu(framework: Framework, case: cases.GeluCase, dtype: str) -> None:
    problems.check_gelu(framework, case, dtype)


@on_every_backend
@pytest.mark.parametrize("case", cases.GEGLU_CASES, ids=str)
def test_geglu(framework: Framework, case: cases.GegluCase, dtype: str) -> None:
    problems.check_geglu(framework, case, dtype)


@on_every_backend
@pytest.mark.parametrize("case", cases.SDPA_CASES, ids=str)
def test_sdpa(framework: Framework, case: cases.SdpaCase, dtype: str) -> None:
    problems.check_sdpa(framework, case, dtype)


@on_every_backend
@pytest.mark.parametrize("case", cases.SDPA_VARLEN_CASES, ids=str)
def test_sdpa_varlen(framework: Framework, case: cases.SdpaVarlenCase, dtype: str) -> None:
    problems.check_sdpa_varlen(framework, case, dtype)
