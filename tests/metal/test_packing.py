"""Packed sequences on Metal: the bits of each alone, and offsets that nobody has looked at before the kernels do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fusedops
from fusedops.verification.frameworks import Framework, everywhere

SIMULATOR = next(f for f in everywhere() if f.name == "metal-simulator")


def arrays(queries: int, keys: int, heads: tuple[int, int], dim: int = 32) -> list[Any]:
    random = np.random.default_rng(0)
    shapes = (queries, heads[0], dim), (keys, heads[1], dim), (keys, heads[1], dim)
    return [random.normal(size=shape).astype(np.float32) for shape in shapes]


def offsets(*values: int) -> Any:
    return np.array(values, np.int32)


@pytest.mark.parametrize("options", [{"causal": True}, {"window": (30, 5), "softcap": 3.0}], ids=str)
def test_each_sequence_is_sdpa_of_it_alone(options: dict[str, Any]) -> None:
    lengths = ((1, 40), (0, 3), (7, 7), (50, 90), (3, 0), (70, 60))
    starts = np.concatenate([[[0, 0]], np.cumsum(lengths, 0)]).T.astype(np.int32)
    q, k, v = arrays(*starts[:, -1], (4, 2))
    call = {"deterministic": True, "return_lse": True, **options}
    out, logsumexp = SIMULATOR.operators.sdpa_varlen(q, k, v, *starts, max_seqlen_q=70, max_seqlen_k=90, **call)
    for (query, key), (queries, keys) in zip(starts.T, lengths, strict=False):
        own = (q[query : query + queries], k[key : key + keys], v[key : key + keys])
        alone, own_logsumexp = SIMULATOR.operators.sdpa(*(x.swapaxes(0, 1)[None] for x in own), **call)
        np.testing.assert_array_equal(out[query : query + queries], alone[0].swapaxes(0, 1))
        np.testing.assert_array_equal(logsumexp[:, query : query + queries], own_logsumexp[0])


# (queries, keys, heads), max_seqlen_q, and the kernels: one for each place in which offsets are looked at.
LAUNCHES = [
    ((4, 40, (2, 2)), 1, ["sdpa_decode_vector"]),
    ((4, 1200, (2, 2)), 1, ["sdpa_decode_vector", "sdpa_combine"]),
    ((9, 40, (8, 2)), 3, ["sdpa_decode_matrix"]),
    ((9, 1200, (4, 2)), 3, ["sdpa_decode_matrix", "sdpa_combine"]),
    ((60, 40, (2, 2)), 50, ["sdpa_prefill"]),
    ((60, 4200, (1, 1)), 50, ["sdpa_prefill", "sdpa_combine"]),
]
LARGEST = 2**31 - 1
WRONG = [(0, 1), (0, -LARGEST - 1), (1, -1), (1, LARGEST), (-1, -1), (-1, LARGEST)]  # which offset, and what it is


@pytest.mark.parametrize(("sizes", "max_seqlen_q", "kernels"), LAUNCHES, ids=str)
def test_wrong_offsets_give_nan_and_read_nothing(
    sizes: tuple[int, int, tuple[int, int]], max_seqlen_q: int, kernels: list[str]
) -> None:
    """Of all rows; the simulator would notice what is read or written outside of the arrays."""
    q, k, v = arrays(*sizes)
    longest = {"max_seqlen_q": max_seqlen_q, "max_seqlen_k": len(k) - 1}
    right_q = offsets(*range(0, len(q), max_seqlen_q), len(q))
    right_k = offsets(0, *[1] * (len(right_q) - 2), len(k))
    plan = fusedops.explain("sdpa_varlen", q, k, v, right_q, right_k, **longest).plan
    assert [launch.kernel for launch in plan.launches] == kernels

    def attend(cu_seqlens_q: Any, cu_seqlens_k: Any, **options: int) -> Any:
        arguments = (q, k, v, cu_seqlens_q, cu_seqlens_k)
        return SIMULATOR.operators.sdpa_varlen(*arguments, return_lse=True, **(longest | options))

    assert not any(np.isnan(result).any() for result in attend(right_q, right_k))
    for index, value in WRONG:
        for right in (right_q, right_k):
            wrong = right.copy()
            wrong[index] = value
            cu_seqlens = (wrong, right_k) if right is right_q else (right_q, wrong)
            assert all(np.isnan(result).all() for result in attend(*cu_seqlens)), cu_seqlens
    assert all(np.isnan(result).all() for result in attend(right_q, right_k, max_seqlen_k=len(k) - 2))
    assert all(np.isnan(result).all() for result in attend(right_q, right_k, max_seqlen_q=max_seqlen_q - 1))
    assert all(np.isnan(result).all() for result in attend(offsets(0), offsets(0)))


@pytest.mark.parametrize("framework", [f for f in everywhere() if f.name.startswith("metal")], ids=str)
def test_offsets_with_strides(framework: Framework) -> None:
    q, k, v = arrays(5, 9, (2, 1))
    every_other = np.array([0, -7, 2, -7, 5], np.int32)[::2], np.array([0, 99, 4, 99, 9], np.int32)[::2]
    longest = {"max_seqlen_q": 3, "max_seqlen_k": 5}
    expected = framework.operators.sdpa_varlen(q, k, v, *(x.copy() for x in every_other), **longest)
    np.testing.assert_array_equal(framework.operators.sdpa_varlen(q, k, v, *every_other, **longest), expected)
    assert np.isfinite(expected).all()
