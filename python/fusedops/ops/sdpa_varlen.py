"""Scaled-dot-product attention of packed sequences."""

from __future__ import annotations

from typing import Any, Literal, TypeVar, overload

from fusedops import _core
from fusedops.backends import backend_of
from fusedops.ops._band import Causal, Window, bad_width, causal_code, window_sides
from fusedops.ops._errors import as_number, bad_argument, kind_of, require_bool
from fusedops.ops._integers import integer

Array = TypeVar("Array")

_OPTIONAL = {"sinks", "scale", "window_left", "window_right", "softcap"}


@overload
def sdpa_varlen(
    q: Array,
    k: Array,
    v: Array,
    cu_seqlens_q: Array,
    cu_seqlens_k: Array,
    *,
    max_seqlen_q: int,
    max_seqlen_k: int,
    causal: Causal = False,
    scale: float | None = None,
    window: Window = None,
    softcap: float | None = None,
    sinks: Array | None = None,
    deterministic: bool = False,
    return_lse: Literal[False] = False,
) -> Array: ...
@overload
def sdpa_varlen(
    q: Array,
    k: Array,
    v: Array,
    cu_seqlens_q: Array,
    cu_seqlens_k: Array,
    *,
    max_seqlen_q: int,
    max_seqlen_k: int,
    causal: Causal = False,
    scale: float | None = None,
    window: Window = None,
    softcap: float | None = None,
    sinks: Array | None = None,
    deterministic: bool = False,
    return_lse: Literal[True],
) -> tuple[Array, Array]: ...
def sdpa_varlen(
    q: Any,
    k: Any,
    v: Any,
    cu_seqlens_q: Any,
    cu_seqlens_k: Any,
    *,
    max_seqlen_q: int,
    max_seqlen_k: int,
    causal: Causal = False,
    scale: float | None = None,
    window: Window = None,
    softcap: float | None = None,
    sinks: Any = None,
    deterministic: bool = False,
    return_lse: bool = False,
) -> Any:
    """Return fusedops.sdpa of every sequence of a batch, which lie one behind the other without padding.

    Sequence i has the queries q[cu_seqlens_q[i] : cu_seqlens_q[i + 1]] and the keys and values from cu_seqlens_k[i] on;
    it sees no other's. Causality and windows are measured within each sequence, as sdpa does. A sequence may be empty;
    queries without keys give zeros. On a CPU one call shares the work of all sequences between the threads, and each
    sequence's result is what sdpa gives for it alone, bit for bit. On Metal, too, one launch takes them all, or
    two where keys are split.

    Args:
        q: (total_q, Hq, D) array of float32, float16 or bfloat16, with any strides.
        k: (total_k, Hkv, D) array of q's dtype. Hq is a multiple of Hkv; heads are shared in consecutive groups.
        v: (total_k, Hkv, Dv) array of q's dtype.
        cu_seqlens_q: (sequences + 1,) int32 array: 0, and where each sequence's queries end. Ends with total_q.
        cu_seqlens_k: The same of keys and values. Ends with total_k.
        max_seqlen_q: What no sequence has more queries than: an int, or an integer array without dimensions, which is
            read (waiting for its device).
        max_seqlen_k: What no sequence has more keys than.
        causal: As fusedops.sdpa takes it, for each sequence.
        scale: Factor of the scores; 1/sqrt(D) if None.
        window: As fusedops.sdpa takes it, for each sequence.
        softcap: c turns a scaled score s into c tanh(s / c).
        sinks: (Hq,) floating array of logits that join each row's softmax without a value.
        deterministic: As fusedops.sdpa takes it.
        return_lse: Whether to return the logsumexp of each row's scores (sinks included), too.

    Returns:
        (total_q, Hq, Dv) array of q's dtype, contiguous; with `return_lse` the pair of it and a
        (Hq, total_q) float32 array.

    Raises:
        TypeError: An argument is of another framework, device or dtype than it must be.
        ValueError: A shape, a number or a string is out of range, or `deterministic` is asked of a composite. What is
            wrong with the values of cu_seqlens_q and cu_seqlens_k is said wherever they can be looked at without
            waiting for a device; where not (GPUs, MLX arrays that are not evaluated yet), the results are NaN.
    """
    backend = backend_of(q, "q")
    if backend.is_overridden and backend.is_overridden(q, k, v, cu_seqlens_q, cu_seqlens_k, sinks):
        required = {"q": q, "k": k, "v": v, "cu_seqlens_q": cu_seqlens_q, "cu_seqlens_k": cu_seqlens_k}
        given = {
            "max_seqlen_q": max_seqlen_q,
            "max_seqlen_k": max_seqlen_k,
            "causal": causal,
            "scale": scale,
            "window": window,
            "softcap": softcap,
            "sinks": sinks,
            "deterministic": deterministic,
            "return_lse": return_lse,
        }
        if (overridden := backend.override(sdpa_varlen, required, given)) is not NotImplemented:
            return overridden
    code = causal_code(causal)
    left, right = window_sides(window)
    require_bool("deterministic", deterministic)
    require_bool("return_lse", return_lse)
    longest_q, longest_k = _length("max_seqlen_q", max_seqlen_q), _length("max_seqlen_k", max_seqlen_k)
    if scale is not None and type(scale) is not float:
        scale = as_number(backend, "scale", scale)
    if softcap is not None and type(softcap) is not float:
        softcap = as_number(backend, "softcap", softcap)
    arrays = {"q": q, "k": k, "v": v, "cu_seqlens_q": cu_seqlens_q, "cu_seqlens_k": cu_seqlens_k, "sinks": sinks}
    options: dict[str, Any] = {
        "max_seqlen_q": longest_q,
        "max_seqlen_k": longest_k,
        "causal": code,
        "scale": scale,
        "window_left": left,
        "window_right": right,
        "softcap": softcap,
        "deterministic": deterministic,
    }

    def check(*described: Any) -> None:
        _core.check_sdpa_varlen(*described)
        for letter, offsets, packed, longest in (("q", cu_seqlens_q, q, longest_q), ("k", cu_seqlens_k, k, longest_k)):
            if (values := backend.known_integers(offsets)) is not None:
                _core.check_cu_seqlens(letter, values, packed.shape[0], longest)

    try:
        return backend.sdpa_varlen(
            *(q, k, v, cu_seqlens_q, cu_seqlens_k, sinks, longest_q, longest_k),
            *(code, scale, left, right, softcap, deterministic, return_lse),
        )
    except Exception:
        if problem := bad_width(window) or bad_argument(backend, check, arrays, options, _OPTIONAL):
            raise problem from None
        raise


def _length(name: str, length: Any) -> int:
    try:
        if not isinstance(length, bool):
            return integer(length)
    except TypeError:
        pass
    raise TypeError(f"{name} must be an int, got {kind_of(length)}")
