"""Random shapes, layouts and options, on every backend, against float64.

`make fuzz` draws many more of them (the profile "fuzz" in conftest.py), new ones every time.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusedops.verification import cases, problems
from fusedops.verification.frameworks import Framework, available, everywhere

layouts = st.sampled_from(cases.LAYOUTS)
dtypes = st.sampled_from(cases.DTYPES)
forms = st.sampled_from(cases.GELU_FORMS)
weights = st.sampled_from([None, "same", "float32", "float16", "bfloat16"])
extents = st.integers(0, 9)
columns = st.integers(0, 300)


@st.composite
def shapes(draw: st.DrawFn, last: st.SearchStrategy[int] = columns) -> tuple[int, ...]:
    return (*draw(st.lists(extents, max_size=3)), draw(last))


rms_norm_cases = st.builds(
    cases.RmsNormCase,
    shape=shapes(),
    weight=weights,
    eps=st.sampled_from([1e-6, 1e-5, 0.1]),
    weight_offset=st.sampled_from([0.0, 1.0, -0.3]),
    residual=st.booleans(),
    layout=layouts,
    magnitude=st.sampled_from([1e-3, 1.0, 100.0]),
)
gelu_cases = st.builds(
    cases.GeluCase,
    shape=shapes(),
    approximate=forms,
    bias=weights,
    layout=layouts,
    magnitude=st.sampled_from([1.0, 6.0]),
)
geglu_cases = st.builds(cases.GegluCase, shape=shapes(), approximate=forms, packed=st.booleans(), layout=layouts)


@st.composite
def sdpa_cases(draw: st.DrawFn) -> cases.SdpaCase:
    kv_heads = draw(st.integers(1, 3))
    lengths = st.one_of(st.integers(1, 12), st.integers(1, 200))
    side = st.one_of(st.none(), st.integers(0, 40))
    mask_shape = tuple(draw(st.sampled_from([letter, 1])) for letter in "BHQK")
    return cases.SdpaCase(
        batch=draw(st.integers(1, 2)),
        heads=(kv_heads * draw(st.sampled_from([1, 2, 3, 5])), kv_heads),
        lengths=(draw(lengths), draw(st.one_of(lengths, st.integers(0, 700)))),
        dims=(draw(st.integers(1, 70)), draw(st.integers(1, 70))),
        causal=draw(st.sampled_from([False, True, "upper_left"])),
        window=draw(st.one_of(st.none(), st.integers(1, 60), st.tuples(side, side))),
        softcap=draw(st.sampled_from([None, 0.5, 20.0])),
        scale=draw(st.sampled_from([None, 0.1, 1.0])),
        mask=draw(st.sampled_from([None, "bool", "float32", "float16"])),
        mask_shape=mask_shape[draw(st.integers(0, 4)) :],
        sinks=draw(st.booleans()),
        nan=draw(st.sampled_from([None, None, "q", "k", "v"])),
        layout=draw(layouts),
    )


varlen_cases = st.builds(
    cases.SdpaVarlenCase,
    lengths=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 150)), max_size=6).map(tuple),
    heads=st.sampled_from([(1, 1), (4, 2), (6, 2), (5, 1)]),
    dims=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    causal=st.sampled_from([False, True, "upper_left"]),
    window=st.one_of(st.none(), st.integers(1, 60), st.tuples(st.integers(0, 40), st.integers(0, 40))),
    softcap=st.sampled_from([None, 0.5, 20.0]),
    sinks=st.booleans(),
    slack=st.integers(0, 2),
    nan=st.sampled_from([None, None, "q", "k", "v"]),
    layout=layouts,
)

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


@pytest.mark.parametrize("framework", available(), ids=str)
@given(case=varlen_cases, dtype=dtypes)
def test_sdpa_varlen(framework: Framework, case: cases.SdpaVarlenCase, dtype: str) -> None:
    problems.check_sdpa_varlen(framework, case, dtype)
