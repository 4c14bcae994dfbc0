"""Scaled-dot-product attention."""

from __future__ import annotations

from typing import Any, Literal, TypeVar, overload

from fusedops import _core
from fusedops.backends import backend_of
from fusedops.ops._band import Causal, Window, bad_width, causal_code, window_sides
from fusedops.ops._errors import as_number, bad_argument, require_bool

Array = TypeVar("Array")

_OPTIONAL = {"mask", "sinks", "scale", "window_left", "window_right", "softcap"}


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
    deterministic: bool = False,
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
    deterministic: bool = False,
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
    deterministic: bool = False,
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
        deterministic: Whether a row's result must depend on nothing but its query and the keys and values that it sees:
            in no bit on the batch, on other rows or on how many queries there are, so that decoding repeats what
            prefilling gave. Costs speed where there are few queries. Composites cannot promise it and refuse it;
            gradients are not part of the promise.
        return_lse: Whether to return the logsumexp of each row's scores (sinks included), too.

    Returns:
        (B, Hq, Lq, Dv) array of q's dtype, contiguous; with `return_lse` the pair of it and a
        (B, Hq, Lq) float32 array.

    Raises:
        TypeError: An argument is of another framework, device or dtype than it must be.
        ValueError: A shape, a number or a string is out of range, or `deterministic` is asked of a composite.
    """
    backend = backend_of(q, "q")
    if backend.is_overridden and backend.is_overridden(q, k, v, mask, sinks):
        given = {
            "mask": mask,
            "causal": causal,
            "scale": scale,
            "window": window,
            "softcap": softcap,
            "sinks": sinks,
            "deterministic": deterministic,
            "return_lse": return_lse,
        }
        if (overridden := backend.override(sdpa, {"q": q, "k": k, "v": v}, given)) is not NotImplemented:
            return overridden
    code = causal_code(causal)
    left, right = window_sides(window)
    require_bool("deterministic", deterministic)
    require_bool("return_lse", return_lse)
    if scale is not None and type(scale) is not float:
        scale = as_number(backend, "scale", scale)
    if softcap is not None and type(softcap) is not float:
        softcap = as_number(backend, "softcap", softcap)
    try:
        return backend.sdpa(q, k, v, mask, sinks, code, scale, left, right, softcap, deterministic, return_lse)
    except Exception:
        arrays = {"q": q, "k": k, "v": v, "mask": mask, "sinks": sinks}
        options = {
            "causal": code,
            "scale": scale,
            "window_left": left,
            "window_right": right,
            "softcap": softcap,
            "deterministic": deterministic,
        }
        if problem := bad_width(window) or bad_argument(backend, _core.check_sdpa, arrays, options, _OPTIONAL):
            raise problem from None
        raise
