"""Counts of floating-point operations for torch.utils.flop_counter, by torch's rules for its own attention.

A product of matrices counts 2 M N K; causality, windows and masks save nothing, and softmax counts nothing, nor do rows
and elements. So the other operators have no formula, as torch's norms and activations have none.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.utils import flop_counter
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from torch.utils.flop_counter import _FlopCounterMode, register_flop_formula

from .tensors import is_fake

sdpa_flop_count: Any = flop_counter.sdpa_flop_count  # its arguments carry no types
sdpa_backward_flop_count: Any = flop_counter.sdpa_backward_flop_count


def register(namespace: Any) -> None:
    """Register the formulas of the attention operators in torch.ops.fusedops."""
    for names, formula in (
        (("sdpa", "sdpa_inference"), _sdpa),
        (("sdpa_backward",), _sdpa_backward),
        (("sdpa_varlen", "sdpa_varlen_inference"), _sdpa_varlen),
        (("sdpa_varlen_backward",), _sdpa_varlen_backward),
    ):
        packets = [getattr(namespace, name) for name in names]
        register_flop_formula(packets, get_raw=True)(formula)
        # A counter takes all formulas when it is made; the first operator may be called, and be registered, later.
        for mode in _get_current_dispatch_mode_stack():
            if isinstance(mode, _FlopCounterMode):
                mode.counter.flop_registry.update(dict.fromkeys(packets, formula))


def _sdpa(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> Any:
    return sdpa_flop_count(q.shape, k.shape, v.shape)


def _sdpa_backward(grad_out: Tensor, _: Tensor, q: Tensor, k: Tensor, v: Tensor, *__: Any, **___: Any) -> Any:
    return sdpa_backward_flop_count(grad_out.shape, q.shape, k.shape, v.shape)


def _sdpa_varlen(q: Tensor, k: Tensor, v: Tensor, *others: Any, **_: Any) -> Any:
    return sum(sdpa_flop_count(*shapes) for shapes in _shapes(q, k, v, *others))


def _sdpa_varlen_backward(grad_out: Tensor, _: Tensor, q: Tensor, k: Tensor, v: Tensor, *others: Any, **__: Any) -> Any:
    return sum(
        sdpa_backward_flop_count((*of_q[:3], grad_out.shape[-1]), of_q, *shapes)
        for of_q, *shapes in _shapes(q, k, v, *others)
    )


def _shapes(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    _: Tensor | None,
    max_seqlen_q: int,
    max_seqlen_k: int,
    *__: Any,
) -> list[tuple[Any, ...]]:
    """Return the shapes of every sequence's q, k and v; all as long as the longest where offsets have no values."""
    lengths = zip(_lengths(cu_seqlens_q, max_seqlen_q), _lengths(cu_seqlens_k, max_seqlen_k), strict=True)
    return [
        ((1, q.shape[1], of_q, q.shape[2]), (1, k.shape[1], of_k, k.shape[2]), (1, v.shape[1], of_k, v.shape[2]))
        for of_q, of_k in lengths
    ]


def _lengths(cu_seqlens: Tensor, longest: int) -> list[int]:
    if not is_fake(cu_seqlens):
        lengths: list[int] = cu_seqlens.diff().tolist()
        return lengths
    return [longest] * (cu_seqlens.shape[0] - 1)
