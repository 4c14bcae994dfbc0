"""Every implementation is compared with float64 before it is timed, on a sample of rows and heads."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from bench.cases import Case, Geglu, Gelu, RmsNorm, Sdpa
from bench.framework import EPS

TOLERANCE = {"f32": 1e-4, "f16": 5e-3, "bf16": 4e-2}
"""Of |expected| plus the root mean square of its row. Wide enough for composites that round several times and
narrow enough to tell erf from tanh in f32; how exact fusedops is, tests/ measures."""

ROWS = 16
HEADS = 4
ELEMENTS = 4096

Arrays = list[np.ndarray]
Piece = tuple[int, Any, np.ndarray]
"""Which output, an index into it, and the float64 values expected there."""


class WrongResult(Exception):
    """An implementation does not compute the operator."""


def check(case: Case, dtype: str, inputs: Arrays, results: dict[str, Arrays]) -> None:
    """Raises WrongResult unless all `results`, by implementation, are what float64 gives for `inputs`."""
    random = np.random.default_rng(0)
    for output, index, expected in PIECES[type(case)](case, inputs, random):
        allowed = TOLERANCE[dtype] * (np.abs(expected) + np.sqrt(np.mean(expected**2, axis=-1, keepdims=True)))
        for name, outputs in results.items():
            error = np.abs(outputs[output][index] - expected)
            if not np.all(error <= allowed):  # not `any(>)`: NaN has to fail
                worst = np.nanmax(error / allowed) if np.isfinite(error).any() else math.nan
                raise WrongResult(f"{name}: {case.op} {case.name}, {dtype}: {worst:.3g} times the tolerated error")


def _rms_norm(case: RmsNorm, inputs: Arrays, random: np.random.Generator) -> Iterator[Piece]:
    x, weight, *residual = inputs
    rows = _sample(random, case.rows, ROWS)
    total = sum((array[rows].astype(np.float64) for array in residual), start=x[rows].astype(np.float64))
    if residual:
        yield 1, rows, total
    yield 0, rows, total / np.sqrt(np.mean(total**2, axis=-1, keepdims=True) + EPS) * weight.astype(np.float64)


def _gelu(case: Gelu, inputs: Arrays, random: np.random.Generator) -> Iterator[Piece]:
    index = _sample_elements(random, case.shape)
    yield 0, index, gelu(inputs[0][index], case.approximate)


def _geglu(case: Geglu, inputs: Arrays, random: np.random.Generator) -> Iterator[Piece]:
    gate, up = inputs
    index = _sample_elements(random, case.shape)
    yield 0, index, gelu(gate[index], case.approximate) * up[index].astype(np.float64)


def gelu(x: np.ndarray, approximate: str) -> np.ndarray:
    """In float64: x / 2 * (1 + erf(x / sqrt 2)), or the tanh approximation of that."""
    wide = x.astype(np.float64)
    if approximate == "tanh":
        doubled: np.ndarray = wide * (1 + np.tanh(math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)))
    else:
        doubled = wide * np.vectorize(math.erfc)(-wide / math.sqrt(2))  # unlike 1 + erf, nothing cancels
    return doubled / 2


def _sdpa(case: Sdpa, inputs: Arrays, random: np.random.Generator) -> Iterator[Piece]:
    q, k, v = inputs
    queries = _sample(random, case.query_length, ROWS)
    for head in _sample(random, case.query_heads, HEADS):
        batch = int(random.integers(case.batch))
        kv_head = head // (case.query_heads // case.kv_heads)
        keys, values = (array[batch, kv_head].astype(np.float64) for array in (k, v))
        scores = q[batch, head, queries].astype(np.float64) @ keys.T / math.sqrt(case.head_dim)
        if case.causal:
            scores[np.arange(case.key_length) > queries[:, None]] = -np.inf
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        yield 0, (batch, head, queries), weights @ values / weights.sum(axis=-1, keepdims=True)


def _sample(random: np.random.Generator, count: int, size: int) -> np.ndarray:
    """`size` sorted indices below `count`, the first and the last among them."""
    inner = random.choice(count, min(size, count), replace=False)
    return np.union1d(inner, [0, count - 1])


def _sample_elements(random: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    count = math.prod(shape)
    return np.unravel_index(np.union1d(random.integers(count, size=ELEMENTS), [0, count - 1]), shape)


PIECES: dict[type[Case], Callable[[Any, Arrays, np.random.Generator], Iterator[Piece]]] = {
    RmsNorm: _rms_norm,
    Gelu: _gelu,
    Geglu: _geglu,
    Sdpa: _sdpa,
}
