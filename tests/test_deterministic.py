"""deterministic=True: a row's bits depend on its query and on the keys and values that it sees, and on nothing else.

Pain 17: outputs changed from 8 to 9 queries and between one and a batch (mlx#3573, mlx#3897).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fusedops
from fusedops.verification import cases, problems
from fusedops.verification.cases import SdpaCase
from fusedops.verification.frameworks import Framework, available
from test_instruction_sets import INSTRUCTION_SETS

KERNELS = [f for f in available() if f.has_deterministic]
COMPOSITES = [f for f in available() if not f.has_deterministic]
on_kernels = pytest.mark.parametrize("framework", KERNELS, ids=str)
on_every_dtype = pytest.mark.parametrize("dtype", cases.DTYPES)
LENGTH = 300  # more than a tile of keys
OPTIONS: dict[str, dict[str, Any]] = {
    "causal": {},
    "window": {"window": 70},
    "sinks": {"sinks": True},
    "softcap": {"softcap": 2.0},
    "bool mask": {"mask": "bool"},
    "additive mask": {"mask": "float32", "window": (90, 0), "sinks": True},
}


class Rows:
    """Causal attention of as many queries as keys; `some` computes it for a part of the rows."""

    def __init__(self, framework: Framework, dtype: str, *, options: dict[str, Any], seed: int = 0) -> None:
        self.framework, self.dtype = framework, dtype
        random = np.random.default_rng(seed)
        self.q = random.normal(size=(2, 6, LENGTH, 40))
        self.k = random.normal(size=(2, 2, LENGTH, 40))
        self.v = random.normal(size=(2, 2, LENGTH, 24))
        self.options = {"causal": True, "deterministic": True, **options}
        if options.get("sinks"):
            self.options["sinks"] = framework.array(random.normal(size=6), "float32")
        self.mask = None
        if options.get("mask"):
            self.mask = random.random((LENGTH, LENGTH)) < 0.7
            if options["mask"] != "bool":
                self.mask = np.where(self.mask, random.normal(size=self.mask.shape), -np.inf)

    def some(
        self, queries: slice = slice(None), keys: int = LENGTH, batch: slice = slice(None), heads: slice = slice(None)
    ) -> tuple[Any, Any]:
        """Return (out, logsumexp) of these queries and the first keys, the last query facing the last key."""
        query_heads = slice(None) if heads == slice(None) else slice(heads.start * 3, heads.stop * 3)
        array, options = self.framework.array, dict(self.options)
        if self.mask is not None:
            kind = "bool" if self.mask.dtype == bool else "float32"
            options["mask"] = array(self.mask[queries, :keys], kind)
        if "sinks" in options:
            options["sinks"] = options["sinks"][query_heads]
        q = array(self.q[batch, query_heads, queries], self.dtype)
        k, v = (array(x[batch, heads, :keys], self.dtype) for x in (self.k, self.v))
        out, logsumexp = self.framework.operators.sdpa(q, k, v, return_lse=True, **options)
        return self.framework.numpy(out), self.framework.numpy(logsumexp)


def assert_same(part: tuple[Any, Any], whole: tuple[Any, Any], index: Any) -> None:
    for some, every in zip(part, whole, strict=True):
        np.testing.assert_array_equal(some, every[index])


@on_kernels
@on_every_dtype
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_rows_do_not_depend_on_one_another(framework: Framework, dtype: str, options: dict[str, Any]) -> None:
    rows = Rows(framework, dtype, options=options)
    whole = rows.some()
    for batch in range(2):
        assert_same(rows.some(batch=slice(batch, batch + 1)), whole, slice(batch, batch + 1))
    assert_same(rows.some(heads=slice(1, 2)), whole, (slice(None), slice(3, 6)))
    for count in (1, 2, 5, 6, 8, 9, 33, 100):  # with 3 heads to a KV head, up to 5 queries would be streamed
        last = slice(LENGTH - count, LENGTH)
        assert_same(rows.some(last), whole, (slice(None), slice(None), last))


@on_kernels
@on_every_dtype
def test_decoding_repeats_prefilling(framework: Framework, dtype: str) -> None:
    """Step by step, with as many keys as there are by then."""
    rows = Rows(framework, dtype, options={"window": 120, "sinks": True})
    whole = rows.some()
    for position in (0, 1, 15, 16, 31, 32, 127, 128, 255, 256, 257, LENGTH - 1):
        query = slice(position, position + 1)
        assert_same(rows.some(query, keys=position + 1), whole, (slice(None), slice(None), query))


@on_kernels
@on_every_dtype
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_what_a_row_does_not_see_changes_no_bit(framework: Framework, dtype: str, poison: float) -> None:
    rows = Rows(framework, dtype, options={})
    whole = rows.some()
    rows.k[0, 0, 200, 3] = rows.v[0, 1, 140, 5] = rows.v[1, 0, 260] = rows.q[1, 1, 50] = poison
    poisoned = rows.some()
    for some, every in zip(poisoned, whole, strict=True):
        np.testing.assert_array_equal(some[:, :, :50], every[:, :, :50])
        np.testing.assert_array_equal(some[0, :3, :200], every[0, :3, :200])
        np.testing.assert_array_equal(some[0, 3:, :140], every[0, 3:, :140])
        np.testing.assert_array_equal(some[1, 0, :260], every[1, 0, :260])
    np.testing.assert_array_equal(poisoned[0][1, 0, 260:], poison)


@on_kernels
@given(
    queries=st.tuples(st.integers(0, LENGTH - 1), st.integers(1, 40)),
    window=st.tuples(st.integers(0, LENGTH), st.just(0)),
    dtype=st.sampled_from(cases.DTYPES),
)
def test_any_rows(framework: Framework, queries: tuple[int, int], window: tuple[int, int], dtype: str) -> None:
    first, count = queries
    rows = Rows(framework, dtype, options={"window": window})
    some = slice(first, min(first + count, LENGTH))
    assert_same(rows.some(some, keys=some.stop), rows.some(), (slice(None), slice(None), some))


@on_kernels
@on_every_dtype
@pytest.mark.parametrize("lengths", [(1, 3000), (5, 300), (40, 70), (70, 40)])
def test_is_as_exact(framework: Framework, dtype: str, lengths: tuple[int, int]) -> None:
    case = SdpaCase(1, (4, 2), lengths, (32, 40), causal=True, window=900, deterministic=True)
    problems.check_sdpa(framework, case, dtype)


@pytest.mark.parametrize("framework", COMPOSITES, ids=str)
def test_composites_refuse(framework: Framework) -> None:
    q = framework.array(np.ones((1, 1, 2, 4)), "float32")
    with pytest.raises(ValueError, match=r"deterministic must be False where .* own operat"):
        framework.operators.sdpa(q, q, q, deterministic=True)


def test_torch_transforms() -> None:
    """Gradients and vmap keep the promise of the forward pass; forward-mode AD, which is a composite, refuses."""
    torch = pytest.importorskip("torch")
    q, k, v = torch.randn(3, 4, 2, 9, 16).unbind()

    def attention(*qkv: Any) -> Any:
        return fusedops.sdpa(*qkv, causal=True, deterministic=True)

    expected = attention(q, k, v)
    differentiable = attention(q.clone().requires_grad_(), k, v)
    torch.testing.assert_close(differentiable, expected, rtol=0, atol=0)
    differentiable.sum().backward()
    mapped = torch.func.vmap(attention)(*(x.unsqueeze(1) for x in (q, k, v)))
    torch.testing.assert_close(mapped.squeeze(1), expected, rtol=0, atol=0)
    compiled = torch.compile(attention, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(q, k, v), expected, rtol=0, atol=0)
    with pytest.raises(ValueError, match="deterministic must be False"):
        torch.func.jvp(lambda q: attention(q, k, v), (q,), (q,))


def test_mlx_transforms() -> None:
    mx = pytest.importorskip("mlx.core")
    mx.set_default_device(mx.cpu)
    q, k, v = mx.random.normal((3, 4, 2, 9, 16))

    def attention(*qkv: Any) -> Any:
        return fusedops.sdpa(*qkv, causal=True, deterministic=True)

    expected = attention(q, k, v)
    assert mx.array_equal(mx.vmap(attention)(*(x[:, None] for x in (q, k, v)))[:, 0], expected)
    assert mx.array_equal(mx.compile(attention)(q, k, v), expected)
    (value,), _ = mx.vjp(lambda q: attention(q, k, v), [q], [q])
    assert mx.array_equal(value, expected)
    # Nodes that differ in this alone are not merged.
    decode = mx.compile(lambda q: (fusedops.sdpa(q, k, v), fusedops.sdpa(q, k, v, deterministic=True)))
    plain, deterministic = decode(q[:, :, :1])
    assert mx.array_equal(deterministic, fusedops.sdpa(q[:, :, :1], k, v, deterministic=True))
    assert mx.array_equal(plain, fusedops.sdpa(q[:, :, :1], k, v))


@pytest.mark.parametrize("name", INSTRUCTION_SETS)
def test_every_instruction_set(name: str) -> None:
    environment = {**os.environ, "FUSEDOPS_INSTRUCTION_SET": name}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    selection = ["-k", "numpy and not every_instruction_set"]
    done = subprocess.run(
        [*command, *selection], env=environment, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
