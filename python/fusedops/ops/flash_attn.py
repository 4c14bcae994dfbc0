"""Attention by flash-attention's calling convention, https://github.com/Dao-AILab/flash-attention.

Programs written for its functions call these instead; sdpa and sdpa_varlen compute. What these cannot do is refused.
"""

from __future__ import annotations

from typing import Any

from fusedops.backends import Backend, backend_of
from fusedops.ops._errors import as_number, is_truth_value, kind_of
from fusedops.ops._integers import integer
from fusedops.ops.sdpa import sdpa
from fusedops.ops.sdpa_varlen import sdpa_varlen

WindowSize = tuple[int, int]


def flash_attn_func(
    q: Any,
    k: Any,
    v: Any,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: WindowSize = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Any = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
    *,
    sinks: Any = None,
) -> Any:
    """Return fusedops.sdpa of arrays whose heads lie behind their lengths.

    Args:
        q: (B, Lq, Hq, D) array of float32, float16 or bfloat16.
        k: (B, Lk, Hkv, D) array of q's dtype; Hq is a multiple of Hkv.
        v: (B, Lk, Hkv, Dv) array of q's dtype.
        dropout_p: Must be 0.
        softmax_scale: Factor of the scores; 1/sqrt(D) if None.
        causal: Whether query i sees only the keys j <= i + Lk - Lq.
        window_size: (left, right): query i sees the keys from i + Lk - Lq - left to i + Lk - Lq + right; -1 leaves a
            side open. Any pair of ints, an array of two as well.
        softcap: c > 0 turns a scaled score s into c tanh(s / c); 0 does nothing.
        alibi_slopes: Must be None. fusedops.sdpa takes such a bias as its mask.
        deterministic: Of flash-attention's gradients: ours are always added up in one order. Changes nothing; the
            stronger promise of the same name is fusedops.sdpa's.
        return_attn_probs: Whether to return (out, softmax_lse, None). Probabilities are never returned:
            flash-attention does not either without dropout.
        sinks: (Hq,) array of logits that join the softmax's denominator, or None. Flash-attention 3 and 4 call them
            learnable_sink, vLLM s_aux.

    Returns:
        (B, Lq, Hq, Dv) array of q's dtype, a view of a (B, Hq, Lq, Dv) one; with `return_attn_probs` followed by the
        (B, Hq, Lq) float32 logsumexp and None.

    Raises:
        TypeError: As fusedops.sdpa raises it.
        ValueError: As fusedops.sdpa raises it, or an argument asks for what there is not.
    """
    backend = backend_of(q, "q")
    if backend.is_overridden and backend.is_overridden(q, k, v, sinks):
        given = {
            "dropout_p": dropout_p,
            "softmax_scale": softmax_scale,
            "causal": causal,
            "window_size": window_size,
            "softcap": softcap,
            "alibi_slopes": alibi_slopes,
            "deterministic": deterministic,
            "return_attn_probs": return_attn_probs,
            "sinks": sinks,
        }
        if (overridden := backend.override(flash_attn_func, {"q": q, "k": k, "v": v}, given)) is not NotImplemented:
            return overridden
    _refuse(backend, dropout_p, alibi_slopes)
    _truth("deterministic", deterministic)
    options = _options(backend, softmax_scale, causal, window_size, softcap, sinks)
    arrays = (_swapped("q", q), _swapped("k", k), _swapped("v", v))
    if not _truth("return_attn_probs", return_attn_probs):
        return sdpa(*arrays, **options).swapaxes(1, 2)
    out, logsumexp = sdpa(*arrays, return_lse=True, **options)
    return out.swapaxes(1, 2), logsumexp, None


def flash_attn_varlen_func(
    q: Any,
    k: Any,
    v: Any,
    cu_seqlens_q: Any,
    cu_seqlens_k: Any,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: WindowSize = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Any = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
    block_table: Any = None,
    *,
    sinks: Any = None,
) -> Any:
    """Return fusedops.sdpa_varlen.

    Args:
        q: (total_q, Hq, D) array of float32, float16 or bfloat16.
        k: (total_k, Hkv, D) array of q's dtype; Hq is a multiple of Hkv.
        v: (total_k, Hkv, Dv) array of q's dtype.
        cu_seqlens_q: (sequences + 1,) int32 array: 0, and where each sequence's queries end.
        cu_seqlens_k: The same of keys and values.
        max_seqlen_q: What no sequence has more queries than.
        max_seqlen_k: What no sequence has more keys than.
        dropout_p: Must be 0.
        softmax_scale: As flash_attn_func takes it.
        causal: As flash_attn_func takes it, for each sequence.
        window_size: As flash_attn_func takes it, for each sequence.
        softcap: As flash_attn_func takes it.
        alibi_slopes: Must be None.
        deterministic: As flash_attn_func takes it.
        return_attn_probs: As flash_attn_func takes it.
        block_table: Must be None: there are no paged keys and values.
        sinks: As flash_attn_func takes them.

    Returns:
        (total_q, Hq, Dv) array of q's dtype; with `return_attn_probs` followed by the (Hq, total_q) float32
        logsumexp and None.

    Raises:
        TypeError: As fusedops.sdpa_varlen raises it.
        ValueError: As fusedops.sdpa_varlen raises it, or an argument asks for what there is not.
    """
    backend = backend_of(q, "q")
    if backend.is_overridden and backend.is_overridden(q, k, v, cu_seqlens_q, cu_seqlens_k, sinks):
        required = {
            "q": q,
            "k": k,
            "v": v,
            "cu_seqlens_q": cu_seqlens_q,
            "cu_seqlens_k": cu_seqlens_k,
            "max_seqlen_q": max_seqlen_q,
            "max_seqlen_k": max_seqlen_k,
        }
        given = {
            "dropout_p": dropout_p,
            "softmax_scale": softmax_scale,
            "causal": causal,
            "window_size": window_size,
            "softcap": softcap,
            "alibi_slopes": alibi_slopes,
            "deterministic": deterministic,
            "return_attn_probs": return_attn_probs,
            "block_table": block_table,
            "sinks": sinks,
        }
        if (overridden := backend.override(flash_attn_varlen_func, required, given)) is not NotImplemented:
            return overridden
    _refuse(backend, dropout_p, alibi_slopes)
    _truth("deterministic", deterministic)
    if block_table is not None:
        raise ValueError(f"block_table must be None: there are no paged keys and values, got {kind_of(block_table)}")
    arrays = (q, k, v, cu_seqlens_q, cu_seqlens_k)
    options = _options(backend, softmax_scale, causal, window_size, softcap, sinks)
    options |= {"max_seqlen_q": max_seqlen_q, "max_seqlen_k": max_seqlen_k}
    if not _truth("return_attn_probs", return_attn_probs):
        return sdpa_varlen(*arrays, **options)
    return *sdpa_varlen(*arrays, return_lse=True, **options), None


def _refuse(backend: Backend, dropout_p: Any, alibi_slopes: Any) -> None:
    if as_number(backend, "dropout_p", dropout_p) != 0:
        raise ValueError(f"dropout_p must be 0: there is no dropout, got {dropout_p}")
    if alibi_slopes is not None:
        kind = kind_of(alibi_slopes)
        raise ValueError(f"alibi_slopes must be None: fusedops.sdpa takes such a bias as its mask, got {kind}")


def _options(
    backend: Backend, softmax_scale: Any, causal: Any, window_size: Any, softcap: Any, sinks: Any
) -> dict[str, Any]:
    """Return the options as sdpa names and takes them."""
    try:
        left, right = window_size
    except (TypeError, ValueError):
        raise ValueError(f"window_size must be a pair (left, right), got {window_size!r}") from None
    return {
        "scale": None if softmax_scale is None else as_number(backend, "softmax_scale", softmax_scale),
        "causal": _truth("causal", causal),
        "window": (_window_side(left), _window_side(right)),
        "softcap": as_number(backend, "softcap", softcap) or None,
        "sinks": sinks,
    }


def _truth(name: str, value: Any) -> bool:
    if not is_truth_value(value):
        raise TypeError(f"{name} must be a bool, got {kind_of(value)}")
    return bool(value)


def _window_side(side: Any) -> int | None:
    try:
        length = None if side is None else integer(side)
    except TypeError:
        raise TypeError(f"window_size must be a pair of ints, got {kind_of(side)}") from None
    return None if length == -1 else length


def _swapped(name: str, array: Any) -> Any:
    """Return the array with its heads before its length, if it has such."""
    if getattr(array, "ndim", None) == 4:
        return array.swapaxes(1, 2)
    if hasattr(array, "shape"):
        raise ValueError(f"{name} must have 4 dimensions (batch, length, heads, dim), got shape {tuple(array.shape)}")
    return array
