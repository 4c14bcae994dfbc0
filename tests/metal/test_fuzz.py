"""Attention's Metal kernels in the simulator against float64, on thousands of random cases, the same ones every time.

    pytest -n auto -m fuzz tests/metal

Every part has a seed of its own, so that they run side by side. No case is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from fusedops.verification import problems
from fusedops.verification.frameworks import everywhere
from strategies import dtypes, few_lengths, model_dims, sdpa_cases, sdpa_varlen_cases

pytestmark = pytest.mark.fuzz

CASES_OF_A_PART = 50
SIMULATOR = next(f for f in everywhere() if f.name == "metal-simulator")
# Long keys and the dimensions of models take time: fewer of everything else then.
few = st.integers(1, 40)
sdpa = st.one_of(
    sdpa_cases(deterministic=True),
    sdpa_cases(deterministic=True),
    sdpa_cases(batches=1, kv_heads=2, query_lengths=few, key_lengths=few_lengths, dims=model_dims, deterministic=True),
    sdpa_cases(batches=1, kv_heads=1, query_lengths=few, key_lengths=st.integers(2048, 2400)),  # prefill splits them
)
sdpa_varlen = st.one_of(
    sdpa_varlen_cases(),
    sdpa_varlen_cases(key_lengths=st.integers(0, 700)),
    sdpa_varlen_cases(key_lengths=st.integers(0, 40), dims=model_dims),
)


def run_part(check: Callable[..., None], cases: st.SearchStrategy[Any], part: int) -> None:
    """Draw and check the cases of a part."""
    drawn = 0

    @seed(part)
    @settings(max_examples=CASES_OF_A_PART, derandomize=False)
    @given(case=cases, dtype=dtypes)
    def run(case: Any, dtype: str) -> None:
        nonlocal drawn
        drawn += 1
        check(SIMULATOR, case, dtype)

    run()
    assert drawn >= CASES_OF_A_PART


@pytest.mark.parametrize("part", range(50))
def test_sdpa(part: int) -> None:
    run_part(problems.check_sdpa, sdpa, part)


@pytest.mark.parametrize("part", range(30))
def test_sdpa_varlen(part: int) -> None:
    run_part(problems.check_sdpa_varlen, sdpa_varlen, part)
