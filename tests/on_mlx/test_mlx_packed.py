"""Packed sequences in MLX's own operations: in groups of similar lengths where these are known, else all together."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

import fusedops
from fusedops import _mlx

LENGTHS = [*np.random.default_rng(0).integers(0, 40, (30, 2)).tolist(), [130, 170], [150, 3], [0, 0], [5, 0]]


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
    options = (150, 170, 1, None, 30, None, None, False, True)
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
    q, k, v, _ = inputs()
    scores_of_the_longest = len(LENGTHS) * 150 * 170 * q.shape[1] * q.itemsize
    offsets = [cu_seqlens(0), cu_seqlens(1)]

    def loss(q: mx.array) -> mx.array:
        return fusedops.sdpa_varlen(q, k, v, *offsets, max_seqlen_q=150, max_seqlen_k=170).sum()

    mx.eval(q, k, v)
    mx.reset_peak_memory()
    mx.eval(mx.grad(loss)(q))
    assert mx.get_peak_memory() < scores_of_the_longest


def test_offsets_are_not_kept_where_they_are_arguments() -> None:
    q, k, v, _ = (x[:60] for x in inputs())

    @mx.compile
    def gradient(offsets_q: mx.array, offsets_k: mx.array) -> mx.array:
        def loss(q: mx.array) -> mx.array:
            return fusedops.sdpa_varlen(q, k, v, offsets_q, offsets_k, max_seqlen_q=60, max_seqlen_k=60).sum()

        return mx.grad(loss)(q)

    for ends in ([0, 60, 60], [0, 20, 60]):
        offsets = [mx.array(ends, mx.int32)] * 2
        expected = mx.grad(
            lambda q, offsets=offsets: fusedops.sdpa_varlen(q, k, v, *offsets, max_seqlen_q=60, max_seqlen_k=60).sum()
        )(q)
        np.testing.assert_allclose(np.array(gradient(*offsets)), np.array(expected), rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("is_known", [True, False])
def test_no_dimensions(is_known: bool) -> None:
    q, k, v = mx.zeros((3, 2, 0)), mx.zeros((4, 2, 0)), mx.zeros((4, 2, 2))
    offsets = [mx.array([0, 1, 3], mx.int32), mx.array([0, 2, 4], mx.int32)]
    if not is_known:
        offsets = list(map(not_known, offsets))

    def loss(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        return fusedops.sdpa_varlen(q, k, v, *offsets, max_seqlen_q=2, max_seqlen_k=2).sum()

    of_q, of_k, of_v = mx.grad(loss, argnums=(0, 1, 2))(q, k, v)
    assert of_q.size == of_k.size == 0
    np.testing.assert_allclose(np.array(of_v)[:, 0, 0], [0.5, 0.5, 1, 1])  # each query sees its keys alike


@pytest.mark.parametrize("offsets", [[0, -7, 6], [0, 3, 5], [0, 1, 6]], ids=str)
def test_wrong_offsets_give_no_gradients(offsets: list[int]) -> None:
    """They are not known, so nothing can be said but NaN."""
    q = mx.random.normal((6, 2, 4))
    ends = not_known(mx.array(offsets, mx.int32))
    gradient = mx.grad(lambda q: fusedops.sdpa_varlen(q, q, q, ends, ends, max_seqlen_q=3, max_seqlen_k=6).sum())(q)
    assert np.isnan(np.array(gradient)).all()


def test_elements_without_a_sequence() -> None:
    def attend(q: mx.array) -> mx.array:
        ends = not_known(mx.zeros((1,), mx.int32))
        return fusedops.sdpa_varlen(q, q, q, ends, ends, max_seqlen_q=3, max_seqlen_k=3)

    q = mx.ones((3, 1, 4))
    assert np.isnan(np.array(attend(q))).all()
    mx.eval(mx.grad(lambda q: attend(q).sum())(q))
