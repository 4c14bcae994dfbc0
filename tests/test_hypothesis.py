"""Random shapes, layouts and options, on every backend, against float64.

`make fuzz` draws many more of them (the profile "fuzz" in conftest.py), new ones every time.
"""

from __future__ import annotations

import pytest
from hypothesis import given

from fusedops.verification import cases, problems
from fusedops.verification.frameworks import Framework, everywhere
from strategies import dtypes, geglu_cases, gelu_cases, rms_norm_cases, sdpa_cases, sdpa_varlen_cases

on_every_backend = pytest.mark.parametrize("framework", everywhere(), ids=str)


@on_every_backend
@given(case=rms_norm_cases, dtype=dtypes)
def test_rms_norm(framework: Framework, case: cases.RmsNormCase, dtype: str) -> None:
    problems.check_rms_norm(framework, case, dtype)


@on_every_backend
@given(case=gelu_cases, dtype=dtypes)
def test_gelu(framework: Framework, case: cases.GeluCase, dtype: str) -> None:
    problems.check_gelu(framework, case, dtype)


@on_every_backend
@given(case=geglu_cases, dtype=dtypes)
def test_geglu(framework: Framework, case: cases.GegluCase, dtype: str) -> None:
    problems.check_geglu(framework, case, dtype)


@on_every_backend
@given(case=sdpa_cases(), dtype=dtypes)
def test_sdpa(framework: Framework, case: cases.SdpaCase, dtype: str) -> None:
    problems.check_sdpa(framework, case, dtype)


@on_every_backend
@given(case=sdpa_varlen_cases(), dtype=dtypes)
def test_sdpa_varlen(framework: Framework, case: cases.SdpaVarlenCase, dtype: str) -> None:
    problems.check_sdpa_varlen(framework, case, dtype)
