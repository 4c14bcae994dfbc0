"""What results are compared with: the operators spelled out, in float64 by numpy, and naively by MLX.

MLX's own float64 will not do as a reference: its exp and erf have float32's accuracy. The formulas are written once for
both (`xp`). In numpy they also take complex arrays, whose imaginary parts carry derivatives exactly (complex step).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import mlx.core as mx
import numpy as np

DTYPES = [mx.float32, mx.float16, mx.bfloat16]


def _erf(x: np.ndarray) -> np.ndarray:
    slope = 2 / math.sqrt(math.pi) * np.exp(-(x.real**2))
    return np.vectorize(math.erf, otypes=[float])(x.real) + (1j * x.imag * slope if np.iscomplexobj(x) else 0)


_numpy = SimpleNamespace(
    **{name: getattr(np, name) for name in ("any", "arange", "broadcast_to", "exp", "log", "max", "maximum", "mean")},
    **{name: getattr(np, name) for name in ("repeat", "split", "sqrt", "sum", "tanh", "where")},
    bool_=np.bool_,
    erf=_erf,
    sigmoid=lambda x: 1 / (1 + np.exp(-x)),
    stop_gradient=np.real,
)


def rms_norm(xp, x, weight, residual, eps, weight_offset):
    total = x if residual is None else x + residual
    y = total / xp.sqrt(xp.mean(total * total, axis=-1, keepdims=True) + eps)
    y = y * ((1 if weight is None else weight) + weight_offset)
    return [y] if residual is None else [y, total]


def gelu(xp, x, bias, approximate):
    if bias is not None:
        x = x + bias
    if approximate == "none":
        return [0.5 * x * (1 + xp.erf(x * math.sqrt(0.5)))]
    if approximate == "tanh":
        return [0.5 * x * (1 + xp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))]
    return [x * xp.sigmoid(1.702 * x)]


def geglu(xp, gate, up, approximate, gate_first):
    if up is None:
        first, second = xp.split(gate, 2, axis=-1)
        gate, up = (first, second) if gate_first else (second, first)
    return [gelu(xp, gate, None, approximate)[0] * up]


def sdpa(xp, q, k, v, mask, sinks, causal, scale, window_left, window_right, softcap, deterministic, return_lse=True):
    query_heads, query_length, head_dim = q.shape[1:]
    key_length = k.shape[2]
    k, v = (xp.repeat(x, query_heads // k.shape[1], axis=1) for x in (k, v))
    scores = (q @ k.swapaxes(-1, -2)) * (max(1, head_dim) ** -0.5 if scale is None else scale)
    if softcap is not None:
        scores = softcap * xp.tanh(scores / softcap)
    queries, keys = xp.arange(query_length)[:, None], xp.arange(key_length)[None]
    queries = queries + (0 if causal == 2 else key_length - query_length)
    visible = keys <= (queries if causal else key_length)
    if window_left is not None:
        visible = visible & (keys >= queries - min(window_left, 10**6))
    if window_right is not None:
        visible = visible & (keys <= queries + min(window_right, 10**6))
    if mask is not None and mask.dtype == xp.bool_:
        visible = visible & mask
    elif mask is not None:
        hides = xp.stop_gradient(mask) == -math.inf
        visible = visible & ~hides
        scores = scores + xp.where(hides, 0, mask)
    visible = xp.broadcast_to(visible, scores.shape)
    sees = xp.any(visible, axis=-1, keepdims=True)
    # Hidden scores must be finite for MLX's derivatives; float16 holds no number that is much smaller.
    scores = xp.where(visible, scores, -6e4)
    largest = xp.max(xp.stop_gradient(scores), axis=-1, keepdims=True)
    if sinks is not None:
        sinks = sinks[..., None, None]
        largest = xp.maximum(largest, xp.stop_gradient(sinks))
    weights = xp.where(visible, xp.exp(scores - largest), 0)
    total = xp.sum(weights, axis=-1, keepdims=True)
    if sinks is not None:
        total = total + xp.exp(sinks - largest)
    total = xp.where(sees, total, 1)
    out = (weights / total) @ v
    return [out, xp.where(sees, largest + xp.log(total), -math.inf)[..., 0]] if return_lse else [out]


OPERATORS = {"rms_norm": rms_norm, "gelu": gelu, "geglu": geglu, "sdpa": sdpa}


def to_numpy(array: Any) -> Any:
    """Return an MLX array as numpy, floating ones in float64; anything else as it is."""
    if not isinstance(array, mx.array):
        return array
    return np.array(array.astype(mx.float32), dtype=np.float64) if _is_floating(array) else np.array(array)


def _is_floating(array: mx.array) -> bool:
    return mx.issubdtype(array.dtype, mx.floating)


def exact(name: str, *arguments: Any) -> list[np.ndarray]:
    """Return the operator's outputs in float64; arrays may be MLX's or numpy's."""
    return OPERATORS[name](_numpy, *map(to_numpy, arguments))


def naive(name: str, *arguments: Any) -> list[mx.array]:
    """Return the operator's outputs computed by MLX in the first array's dtype."""
    dtype = arguments[0].dtype
    arrays = (x.astype(dtype) if isinstance(x, mx.array) and _is_floating(x) else x for x in arguments)
    return OPERATORS[name](mx, *arrays)


Loss = Callable[..., Any]


def differences(loss: Loss, arrays: Sequence[np.ndarray], step: float = 1e-6) -> list[np.ndarray]:
    """Return the gradients of loss(*arrays) in every floating array, by central differences."""
    arrays = [np.array(array) for array in arrays]
    gradients = []
    for array in arrays:
        gradient = np.zeros(array.shape)
        for index in np.ndindex(array.shape) if array.dtype != np.bool_ else ():
            value = array[index]
            array[index] = value + step
            above = loss(*arrays)
            array[index] = value - step
            gradient[index] = (above - loss(*arrays)) / (2 * step)
            array[index] = value
        gradients.append(gradient)
    return gradients


def slope(loss: Loss, arrays: Sequence[np.ndarray], directions: Sequence[np.ndarray]) -> Any:
    """Return the derivative of loss along the directions, exactly. The loss may have any shape."""
    step = 1e-40
    moved = [x if x.dtype == np.bool_ else x + 1j * step * d for x, d in zip(arrays, directions, strict=True)]
    return np.imag(loss(*moved)) / step


def assert_as_good_as(results: Sequence[mx.array], ordinary: Sequence[mx.array], reference: Sequence[Any]) -> None:
    """Assert that no result is off by more than twice what the ordinary computation in the same dtype is off by.

    Besides, two units of float32's rounding of the largest entry are allowed for sums in another order.
    """
    assert len(results) == len(ordinary) == len(reference)
    for result, other, expected in zip(results, ordinary, reference, strict=True):
        assert result.shape == expected.shape
        assert result.dtype == other.dtype
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(np.where(finite, 0, to_numpy(result)), np.where(finite, 0, expected))
        right = np.where(finite, expected, 0)
        error, allowed = (np.abs(np.where(finite, to_numpy(x), 0) - right).max(initial=0) for x in (result, other))
        limit = 2 * allowed + 2**-22 * max(1.0, np.abs(right).max(initial=0))
        assert error <= limit, f"off by {error}, the naive computation by {allowed}"
