"""The operators in float64, the measure of every error, and in the plain way at a given precision, the yardstick.

A `Precision` is applied to every operand and to the result of every single step: that gives what a user gets who writes
the formula down in arrays of that dtype, whose matrix products and sums add up in float32.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]

_erf = np.vectorize(math.erf, otypes=[np.float64])
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


class Precision:
    """Rounds to `dtype`; what is rounded is kept in float32, or in float64 if that is the dtype."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def __call__(self, values: Floats) -> Floats:
        with np.errstate(over="ignore"):
            if self.dtype == "float16":
                return np.asarray(values).astype(np.float16).astype(np.float32)
            if self.dtype == "bfloat16":
                return _round_to_bfloat16(np.asarray(values, np.float32))
            return np.asarray(values, self.dtype)


def _round_to_bfloat16(values: Floats) -> Floats:
    bits = values.view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    return np.where(np.isnan(values), values, rounded)


EXACT = Precision("float64")


def rms_norm(x: Floats, weight: Floats | None, eps: float, weight_offset: float, rounded: Precision = EXACT) -> Floats:
    """Return x / sqrt(mean(x**2) + eps) * (weight + weight_offset)."""
    x = rounded(x)
    # In float64 also by the plain way, since float32 holds the root of every mean, but not every mean.
    mean = np.mean(np.square(x, dtype=np.float64), -1, keepdims=True) if x.shape[-1] else np.zeros((*x.shape[:-1], 1))
    scale = np.ones(x.shape[-1], x.dtype) if weight is None else rounded(weight)
    with np.errstate(invalid="ignore"):
        normalised = x / np.sqrt(mean + eps).astype(x.dtype)
    return rounded(rounded(normalised) * rounded(scale + weight_offset))


def gelu(x: Floats, approximate: str, bias: Floats | None = None, rounded: Precision = EXACT) -> Floats:
    """Return gelu(x + bias)."""
    x = rounded(x)
    if bias is not None:
        x = rounded(x + rounded(bias))
    if rounded is EXACT:
        return x * _exact_gate(x, approximate)
    if approximate == "none":
        return rounded(x * rounded(0.5 * rounded(1 + rounded(_erf(rounded(x / math.sqrt(2)))))))
    if approximate == "tanh":
        inner = rounded(math.sqrt(2 / math.pi) * rounded(x + rounded(0.044715 * rounded(x * rounded(x * x)))))
        return rounded(x * rounded(0.5 * rounded(1 + rounded(np.tanh(inner)))))
    return rounded(x * rounded(1 / rounded(1 + rounded(np.exp(-rounded(1.702 * x))))))


def _exact_gate(x: Floats, approximate: str) -> Floats:
    """Return what gelu multiplies x by, without the cancellation that 1 + erf and 1 + tanh suffer in the tail."""
    if approximate == "none":
        return np.asarray(0.5 * _erfc(-x / math.sqrt(2)))
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-sigmoid_argument(x, approximate))))


def sigmoid_argument(x: Floats, approximate: str) -> Floats:
    """Return what the gate of "tanh" or "sigmoid" is the sigmoid of."""
    return 1.702 * x if approximate == "sigmoid" else 2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)


def geglu(gate: Floats, up: Floats, approximate: str, rounded: Precision = EXACT) -> Floats:
    """Return gelu(gate) * up."""
    return rounded(gelu(gate, approximate, None, rounded) * rounded(up))


def visible_keys(query_length: int, key_length: int, causal: Any, window: Any) -> NDArray[np.bool_]:
    """Return the (query_length, key_length) mask that causality and window make."""
    offset = 0 if causal == "upper_left" else key_length - query_length
    left, right = (window - 1, 0) if isinstance(window, int) else window or (None, None)
    distance = np.arange(key_length)[None, :] - (np.arange(query_length)[:, None] + offset)
    visible = np.ones((query_length, key_length), bool)
    if causal:
        visible &= distance <= 0
    if left is not None:
        visible &= distance >= -left
    if right is not None:
        visible &= distance <= right
    return visible


def sdpa(
    q: Floats,
    k: Floats,
    v: Floats,
    *,
    mask: Floats | None = None,
    causal: Any = False,
    scale: float | None = None,
    window: Any = None,
    softcap: float | None = None,
    sinks: Floats | None = None,
    rounded: Precision = EXACT,
) -> tuple[Floats, Floats]:
    """Return (out, logsumexp), with all scores at once."""
    q, k, v = rounded(q), rounded(k), rounded(v)
    group_size = q.shape[1] // k.shape[1] if k.shape[1] else 1
    k, v = np.repeat(k, group_size, 1), np.repeat(v, group_size, 1)
    head_dim = q.shape[-1]
    scale = (head_dim**-0.5 if head_dim else 1.0) if scale is None else scale
    with np.errstate(all="ignore"):
        scores = rounded(rounded(q @ np.swapaxes(k, -1, -2)) * scale)
        if softcap is not None:
            scores = rounded(softcap * rounded(np.tanh(rounded(scores / softcap))))
        hidden = ~np.broadcast_to(visible_keys(q.shape[2], k.shape[2], causal, window), scores.shape)
        if mask is not None and mask.dtype == bool:
            hidden = hidden | ~mask
        elif mask is not None:
            hidden = hidden | (mask == -np.inf)
            scores = rounded(scores + rounded(np.where(mask == -np.inf, 0, mask)))
        scores = np.where(hidden, -np.inf, scores)
        sees_nothing = hidden.all(-1, keepdims=True)
        top = np.max(scores, -1, keepdims=True, initial=-np.inf)
        if sinks is not None:
            sinks = rounded(sinks)[:, None, None]
            top = np.maximum(top, sinks)
        top = np.where(sees_nothing, 0, top)
        weights = np.where(hidden, 0, rounded(np.exp(rounded(scores - top))))
        total = weights.sum(-1, keepdims=True)
        if sinks is not None:
            total = total + rounded(np.exp(rounded(sinks - top)))
        total = np.where(sees_nothing, 1, total)
        probabilities = rounded(weights / total)
        if np.isfinite(v).all():
            out = rounded(probabilities @ v)
        else:  # a hidden key has no influence, not even where its value is NaN
            out = rounded(np.where(hidden[..., None], 0, probabilities[..., None] * v[:, :, None]).sum(-2))
        logsumexp = np.where(sees_nothing, -np.inf, top + np.log(total))[..., 0]
    return out, logsumexp


def sdpa_varlen(
    q: Floats,
    k: Floats,
    v: Floats,
    offsets_q: NDArray[Any],
    offsets_k: NDArray[Any],
    **options: Any,
) -> tuple[Floats, Floats]:
    """Return (out, logsumexp) of packed sequences, each by `sdpa`, which has the options."""
    out = np.zeros((q.shape[0], q.shape[1], v.shape[2]))
    logsumexp = np.zeros((q.shape[1], q.shape[0]))
    for i in range(len(offsets_q) - 1):
        queries, keys = (slice(offsets[i], offsets[i + 1]) for offsets in (offsets_q, offsets_k))
        batch = (np.swapaxes(packed[rows], 0, 1)[None] for packed, rows in ((q, queries), (k, keys), (v, keys)))
        own, own_logsumexp = sdpa(*batch, **options)
        out[queries], logsumexp[:, queries] = np.swapaxes(own[0], 0, 1), own_logsumexp[0]
    return out, logsumexp
