"""How a mask lies in memory makes no difference, in no bit."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from fusedops.verification.frameworks import Framework, available

BATCH, HEADS, QUERIES, KEYS = 2, 4, 70, 150
SHAPES = [
    (BATCH, HEADS, QUERIES, KEYS),
    (1, HEADS, QUERIES, KEYS),
    (BATCH, 1, 1, KEYS),
    (BATCH, HEADS, QUERIES, 1),
    (QUERIES, KEYS),
    (KEYS,),
]


def permuted(framework: Framework, values: Any, dtype: str, axes: tuple[int, ...]) -> Any:
    """Return the values as an array whose axes lie in memory in the given order."""
    array = framework.array(values.transpose(axes), dtype)
    return (
        array.permute(*np.argsort(axes).tolist())
        if hasattr(array, "permute")
        else array.transpose(np.argsort(axes).tolist())
    )


@pytest.mark.parametrize("framework", available(), ids=str)
@pytest.mark.parametrize("dtype", ["bool", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("queries", [QUERIES, 2])
def test_order_of_axes(framework: Framework, dtype: str, queries: int) -> None:
    random = np.random.default_rng(0)
    q, k, v = (
        framework.array(random.normal(size=(BATCH, heads, length, 16)), "float32")
        for heads, length in ((HEADS, queries), (2, KEYS), (2, KEYS))
    )
    for shape in SHAPES:
        extents = tuple(queries if extent == QUERIES else extent for extent in shape)
        values = random.random(extents) < 0.7 if dtype == "bool" else random.normal(size=extents)
        expected = framework.numpy(framework.operators.sdpa(q, k, v, mask=framework.array(values, dtype)))
        for axes in itertools.permutations(range(len(extents))):
            mask = permuted(framework, values, dtype, axes)
            out = framework.numpy(framework.operators.sdpa(q, k, v, mask=mask))
            np.testing.assert_array_equal(out, expected, f"{shape} {axes}")


@pytest.mark.parametrize("dtype", ["bool", "float32", "float16"])
def test_steps(dtype: str) -> None:
    """Every other key, keys backwards, and one row for all heads: numpy has them all."""
    import fusedops

    random = np.random.default_rng(0)
    q, k, v = (random.normal(size=(BATCH, HEADS, length, 16)).astype(np.float32) for length in (QUERIES, KEYS, KEYS))
    values = random.random((QUERIES, 2 * KEYS)) < 0.7 if dtype == "bool" else random.normal(size=(QUERIES, 2 * KEYS))
    whole = values.astype(dtype)
    for mask in (
        whole[:, ::2],
        whole[:, :KEYS][:, ::-1],
        np.broadcast_to(whole[:, ::2], (BATCH, HEADS, QUERIES, KEYS)),
    ):
        expected = fusedops.sdpa(q, k, v, mask=np.ascontiguousarray(mask))
        np.testing.assert_array_equal(fusedops.sdpa(q, k, v, mask=mask), expected)
