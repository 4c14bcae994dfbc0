"""Scaled-dot-product attention."""

from __future__ import annotations

import operator
from typing import Any, Literal, TypeVar, overload

from fusedops import _core
from fusedops.backends import backend_of
from fusedops.ops._errors import bad_argument

Array = TypeVar("Array")
Causal = bool | Literal["lower_right", "upper_left"]
Window = int | tuple[int | None, int | None] | None

_OPTIONAL = {"mask", "sinks", "scale", "window_left", "window_right", "softcap"}
_CAUSAL = {False: 0, True: 1, "lower_right": 1, "upper_left": 2}


@overload
def sdpa(
    q: Array,
    k: Array,
    v: Array,
    *,
    mask: Array | None = None,
    causal: Causal = False,
    scale: float | None = None,
    window: Window = None,
    softcap: float | None = None,
    sinks: Array | None = None,
    return_lse: Literal[False] = False,
) -> Array: ...
@overload
def sdpa(
    q: Array,
    k: Array,
    v: Array,
    *,
    mask: Array | None = None,
    causal: Causal = False,
    scale: float | None = None,
    window: Window = None,
    softcap: float | None = None,
    sinks: Array | None = None,
    return_lse: Literal[True],
) -> tuple[Array, Array]: ...
def sdpa(
    q: Any,
    k: Any,
    v: Any,
    *,
    mask: Any = None,
    causal: Causal = False,
    scale: float | None = None,
    window: Window = None,
    softcap: float | None = None,
    sinks: Any = None,
    return_lse: bool = False,
) -> Any:
    """Return softmax(scale * q k^T + mask) v, computed blockwise: the scores are never stored.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762; Dao 2023, https://arxiv.org/abs/2307.08691. Products, softmax
    and sums are in float32; the result is rounded once. All options combine. A key that a row does not see has no
    influence on it, not even if it is NaN; a row that sees no key gives zeros, logsumexp minus infinity and no
    gradients.

    Args:
        q: (B, Hq, Lq, D) array of float32, float16 or bfloat16, with any strides.
        k: (B, Hkv, Lk, D) array of q's dtype. Hq is a multiple of Hkv; heads are shared in consecutive groups.
        v: (B, Hkv, Lk, Dv) array of q's dtype.
        mask: Array that broadcasts to (B, Hq, Lq, Lk): bool (True is visible), or floating to be added to the scores.
        causal: True or "lower_right": query i sees the keys j <= i + Lk - Lq. "upper_left": j <= i.
        scale: Factor of the scores; 1/sqrt(D) if None.
        window: (left, right): query i sees the keys from i + offset - left to i + offset + right, where offset is
            Lk - Lq, or 0 with causal="upper_left"; None leaves a side open. An int w stands for (w - 1, 0).
        softcap: c turns a scaled score s into c tanh(s / c), before the mask.
        sinks: (Hq,) floating array of logits that join each row's softmax without a value. (B, Hq) is taken too.
        return_lse: Whether to return the logsumexp of each row's scores (sinks included), too.

    Returns:
        (B, Hq, Lq, Dv) array of q's dtype, contiguous; with `return_lse` the pair of it and a
        (B, Hq, Lq) float32 array.

    Raises:
        TypeError: An argument is of another framework, device or dtype than it must be.
        ValueError: A shape, a number or a string is out of range.
    """
    causal_code = _causal_code(causal)
    left, right = (None, None) if window is None else _window_sides(window)
    backend = backend_of(q, "q")
    try:
        return backend.sdpa(q, k, v, mask, sinks, causal_code, scale, left, right, softcap, return_lse)
    except Exception:
        arrays = {"q": q, "k": k, "v": v, "mask": mask, "sinks": sinks}
        options = {
            "causal": causal_code,
            "scale": scale,
            "window_left": left,
            "window_right": right,
            "softcap": softcap,
        }
        if problem := bad_argument(backend, _core.check_sdpa, arrays, options, _OPTIONAL):
            raise problem from None
        raise


def _causal_code(causal: Causal) -> int:
    if causal is False:
        return 0
    try:
        return _CAUSAL[causal]
    except (KeyError, TypeError):
        raise ValueError(f"causal must be a bool, 'lower_right' or 'upper_left', got {causal!r}") from None


def _window_sides(window: Any) -> tuple[int | None, int | None]:
    """Return the window as (left, right). That no side is negative is checked with the rest."""
    if isinstance(window, tuple | list):
        if len(window) != 2:
            raise ValueError(f"window must be an int or a pair (left, right), got {window!r}")
        return _window_side(window[0]), _window_side(window[1])
    width = _window_side(window)
    if width is not None and width < 1:
        raise ValueError(f"window must be at least 1, the number of keys that a query sees, got {window!r}")
    return (width if width is None else width - 1), 0


def _window_side(side: Any) -> int | None:
    if side is None:
        return None
    if isinstance(side, bool):
        raise TypeError(f"window must be made of ints or None, got {side!r}")
    try:
        return operator.index(side)
    except TypeError:
        raise TypeError(f"window must be made of ints or None, got {side!r}") from None
