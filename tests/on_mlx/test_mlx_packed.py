"""Packed sequences in MLX's own operations: in groups of similar lengths where these are known, else all together."""

from __future__ import annotations

import mlx.core as mx
import numpy as np

import fusedops
from fusedops import _mlx

LENGTHS = [*np.random.default_rng(0).integers(0, 40, (30, 2)).tolist(), [512, 700], [600, 3], [0, 0], [5, 0]]


def cu_seqlens(side: int) -> mx.array:
    """Return where the sequences' queries (0) or keys (1) end, evaluated."""
    ends = mx.array(np.cumsum([0, *(lengths[side] for lengths in LENGTHS)]).astype(np.int32))
    mx.eval(ends)
    return ends


def not_known(offsets: mx.array) -> mx.array:
    """Return the same offsets, not evaluated yet."""
    return offsets + mx.array(0, mx.int32)


def inputs() -> list[mx.array]:
    """Return q, k, v and sinks."""
    queries, keys = (sum(lengths[side] for lengths in LENGTHS) for side in (0, 1))
    shapes = ((queries, 4, 16), (keys, 2, 16), (keys, 2, 8), (4,))
    return [mx.random.normal(shape, key=mx.random.key(seed)) for seed, shape in enumerate(shapes)]


def test_groups_change_no_result() -> None:
    options = (600, 700, 1, None, 30, None, None, False, True)
    offsets = [cu_seqlens(0), cu_seqlens(1)]
    cotangents: list[mx.array] = []

    def results(function: object, *all_offsets: mx.array) -> list[mx.array]:
        def of_floating(q: mx.array, k: mx.array, v: mx.array, sinks: mx.array) -> list[mx.array]:
            return list(function(q, k, v, *all_offsets, sinks, *options))  # type: ignore[operator]

        if not cotangents:
            cotangents.extend(mx.random.normal(y.shape, key=mx.random.key(9)) for y in of_floating(*inputs()))
        outputs, gradients = mx.vjp(of_floating, inputs(), cotangents)
        return [*outputs, *gradients]

    together = results(_mlx.sdpa_varlen_composite, *map(not_known, offsets))
    for function in (_mlx.sdpa_varlen, _mlx.sdpa_varlen_composite):
        for ours, expected in zip(results(function, *offsets), together, strict=True):
            np.testing.assert_allclose(np.array(ours), np.array(expected), rtol=2e-4, atol=2e-5)


def test_gradients_take_no_memory_for_the_longest() -> None:
    """Scores of all sequences padded to the longest take 34 x 600 x 700 x 4 heads x 4 bytes, 228 MB."""
    q, k, v, _ = inputs()
    offsets = [cu_seqlens(0), cu_seqlens(1)]

    def loss(q: mx.array) -> mx.array:
        return fusedops.sdpa_varlen(q, k, v, *offsets, max_seqlen_q=600, max_seqlen_k=700).sum()

    mx.eval(q, k, v)
    mx.reset_peak_memory()
    mx.eval(mx.grad(loss)(q))
    assert mx.get_peak_memory() < 100e6


def test_offsets_are_not_kept_where_they_are_arguments() -> None:
    q, k, v, _ = inputs()

    @mx.compile
    def gradient(offsets_q: mx.array, offsets_k: mx.array) -> mx.array:
        def loss(q: mx.array) -> mx.array:
            return fusedops.sdpa_varlen(q, k, v, offsets_q, offsets_k, max_seqlen_q=4000, max_seqlen_k=4000).sum()

        return mx.grad(loss)(q)

    one = [mx.array([0, *[end] * len(LENGTHS)], mx.int32) for end in (q.shape[0], k.shape[0])]
    for offsets in ([cu_seqlens(0), cu_seqlens(1)], one):
        expected = mx.grad(
            lambda q, offsets=offsets: fusedops.sdpa_varlen(
                q, k, v, *offsets, max_seqlen_q=4000, max_seqlen_k=4000
            ).sum()
        )(q)
        np.testing.assert_allclose(np.array(gradient(*offsets)), np.array(expected), rtol=2e-4, atol=2e-5)
