"""Scaled-dot-product attention of packed sequences.

The composite pads the sequences to the lengths of the longest ones and runs that of sdpa, with a mask of what is there.
Rows move in both directions by gathering: so gradients do, too, and nothing is added up in an order that may change.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fusedops import _core

from ..library import Operator, Outputs, autocast_to, batch_first, compute_dtype, describe, describe_optional
from . import sdpa

_UPPER_LEFT = 2  # of csrc/ops/sdpa.h's Causal; anything but 0 is causal


class Options(NamedTuple):
    """The arguments that are no tensors, as the schema orders them."""

    max_seqlen_q: int
    max_seqlen_k: int
    causal: int
    scale: float | None
    window_left: int | None
    window_right: int | None
    softcap: float | None
    deterministic: bool

    def of_batch(self) -> sdpa.Options:
        """Return sdpa's options for the padded sequences: the mask holds causality and window."""
        return sdpa.Options(0, self.scale, None, None, self.softcap, False)


class Sequences:
    """The sequences of one packed tensor, and how to pad and unpad it; there is at least one, and an element."""

    def __init__(self, cu_seqlens: Tensor, total: int, max_length: int) -> None:
        cu_seqlens = cu_seqlens.long()
        first, end = cu_seqlens[:-1], cu_seqlens[1:]
        count, self.longest = first.shape[0], max(min(max_length, total), 1)
        self.lengths = end - first
        self.positions = torch.arange(self.longest, device=first.device)
        self.present = self.positions < self.lengths.unsqueeze(-1)  # (sequences, longest)
        self.elements = (first.unsqueeze(-1) + self.positions).clamp(0, total - 1)
        element = torch.arange(total, device=first.device)
        self.sequence = torch.bucketize(element, end, right=True).clamp(max=count - 1)
        self.position = (element - first[self.sequence]).clamp(0, self.longest - 1)

    def padded(self, packed: Tensor) -> Tensor:
        """(total, heads, n) -> (sequences, heads, longest, n), zeros where there is no element."""
        rows = torch.where(self.present[:, :, None, None], packed[self.elements], 0)
        return rows.transpose(1, 2)

    def packed(self, padded: Tensor) -> Tensor:
        """(sequences, heads, longest, n) -> (total, heads, n)."""
        return padded.transpose(1, 2)[self.sequence, self.position]


def _fit(cu_seqlens: Tensor, total: int, max_length: int) -> Tensor:
    """Return whether the sequences cover the packed tensor, none being too long, as a tensor: nobody waits for it."""
    lengths = cu_seqlens.diff()
    each = ((lengths >= 0) & (lengths <= max_length)).all()
    return each & (cu_seqlens[0] == 0) & (cu_seqlens[-1] == total)


def _nan_unless(fit: Tensor, tensor: Tensor) -> Tensor:
    return torch.where(fit, tensor, math.nan)


class Batch:
    """The sequences as a batch of padded ones. What is there in either is all there is to see."""

    def __init__(self, q: Tensor, k: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, options: Options) -> None:
        self.queries = Sequences(cu_seqlens_q, q.shape[0], options.max_seqlen_q)
        self.keys = Sequences(cu_seqlens_k, k.shape[0], options.max_seqlen_k)
        self.visible = self._visible(options)

    def _visible(self, options: Options) -> Tensor:
        """Return which keys each query sees: (sequences, 1, longest query, longest key)."""
        queries, keys = self.queries, self.keys
        visible = queries.present.unsqueeze(-1) & keys.present.unsqueeze(-2)
        offset = torch.zeros_like(keys.lengths) if options.causal == _UPPER_LEFT else keys.lengths - queries.lengths
        distance = keys.positions - queries.positions.unsqueeze(-1) - offset[:, None, None]
        left, right = options.window_left, 0 if options.causal else options.window_right
        if left is not None:
            visible = visible & (distance >= -left)
        if right is not None:
            visible = visible & (distance <= right)
        return visible.unsqueeze(1)

    def tensors(self, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None) -> tuple[Any, ...]:
        """Return what sdpa takes for them."""
        padded = (self.queries.padded(q), self.keys.padded(k), self.keys.padded(v))
        return *padded, self.visible, sinks


def _is_fit(q: Tensor, k: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, options: Options) -> Tensor:
    fit_q = _fit(cu_seqlens_q, q.shape[0], options.max_seqlen_q)
    return fit_q & _fit(cu_seqlens_k, k.shape[0], options.max_seqlen_k)


def _has_scores(q: Tensor, k: Tensor, cu_seqlens_q: Tensor) -> bool:
    return 0 not in (q.shape[0], k.shape[0], cu_seqlens_q.shape[0] - 1)


def check(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    sinks: Tensor | None,
    *options: Any,
) -> None:
    offsets = (describe(cu_seqlens_q), describe(cu_seqlens_k))
    _core.check_sdpa_varlen(describe(q), describe(k), describe(v), *offsets, describe_optional(sinks), *options)


def fake(q: Tensor, k: Tensor, v: Tensor, *_: Any) -> Outputs:
    total, heads = q.shape[:2]
    return q.new_empty((total, heads, v.shape[-1])), q.new_empty((heads, total), dtype=torch.float32)


def composite(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    sinks: Tensor | None,
    *arguments: Any,
) -> Outputs:
    options = Options(*arguments)
    sdpa.refuse_deterministic(options.deterministic, q)
    fit = _is_fit(q, k, cu_seqlens_q, cu_seqlens_k, options)
    if not _has_scores(q, k, cu_seqlens_q):
        out = q.new_zeros((*q.shape[:2], v.shape[-1]))
        logsumexp = q.new_full((q.shape[1], q.shape[0]), -math.inf, dtype=compute_dtype(q))
        return _nan_unless(fit, out), _nan_unless(fit, logsumexp)
    batch = Batch(q, k, cu_seqlens_q, cu_seqlens_k, options)
    out, logsumexp = sdpa.composite(*batch.tensors(q, k, v, sinks), *options.of_batch())
    rows = batch.queries.packed(logsumexp.unsqueeze(-1)).squeeze(-1)
    return _nan_unless(fit, batch.queries.packed(out)), _nan_unless(fit, rows).mT.contiguous()


def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
    ctx.save_for_backward(*inputs[:6])
    ctx.options = Options(*inputs[6:])


def backward(ctx: Any, grad_out: Tensor, grad_logsumexp: Tensor) -> tuple[Tensor | None, ...]:
    q, k, v, cu_seqlens_q, cu_seqlens_k, sinks = ctx.saved_tensors
    needs_q, needs_k, needs_v, _, _, needs_sinks = ctx.needs_input_grad[:6]
    options: Options = ctx.options
    unused = (None,) * len(options)
    if not _has_scores(q, k, cu_seqlens_q):
        zeros = (torch.zeros_like(x) if x is not None else None for x in (q, k, v, None, None, sinks))
        return *zeros, *unused
    batch = Batch(q, k, cu_seqlens_q, cu_seqlens_k, options)
    grad_rows = batch.queries.padded(grad_logsumexp.mT.unsqueeze(-1)).squeeze(-1)
    grad_q, grad_k, grad_v, _, grad_sinks = sdpa.gradients(
        batch.tensors(q, k, v, sinks),
        options.of_batch(),
        (needs_q, needs_k, needs_v, False, needs_sinks),
        batch.queries.padded(grad_out),
        grad_rows,
    )
    fit = _is_fit(q, k, cu_seqlens_q, cu_seqlens_k, options)

    def packed(sequences: Sequences, gradient: Tensor | None) -> Tensor | None:
        return None if gradient is None else _nan_unless(fit, sequences.packed(gradient))

    queries, keys = batch.queries, batch.keys
    gradients = (packed(queries, grad_q), packed(keys, grad_k), packed(keys, grad_v))
    return *gradients, None, None, grad_sinks, *unused


def vmap(
    variant: Any,
    batch_size: int,
    in_dims: tuple[Any, ...],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    sinks: Tensor | None,
    *options: Any,
) -> Outputs:
    """Fold the mapped dimension into the heads."""
    for name, dim in zip(("cu_seqlens_q", "cu_seqlens_k"), in_dims[3:5], strict=True):
        if dim is not None:
            raise ValueError(f"{name} must not be mapped by vmap: all elements have the same sequences")

    def folded(tensor: Tensor, dim: int | None, heads_dim: int) -> Tensor:
        return batch_first(tensor, dim, batch_size).movedim(0, heads_dim).flatten(heads_dim, heads_dim + 1)

    q, k, v = (folded(tensor, dim, 1) for tensor, dim in zip((q, k, v), in_dims[:3], strict=True))
    if sinks is not None:
        sinks = folded(sinks, in_dims[5], 0)
    out, *logsumexp = variant(q, k, v, cu_seqlens_q, cu_seqlens_k, sinks, *options)
    heads = q.shape[1] // batch_size
    outputs = [torch.unflatten(out, 1, (batch_size, heads)).movedim(1, 0)]
    outputs += [torch.unflatten(rows, 0, (batch_size, heads)) for rows in logsumexp]
    return tuple(outputs)


def autocast(device_type: str, q: Tensor, k: Tensor, v: Tensor, *others: Any) -> tuple[Any, ...]:
    dtype = torch.get_autocast_dtype(device_type)
    return *(autocast_to(dtype, tensor) for tensor in (q, k, v)), *others


OPERATOR = Operator(
    name="sdpa_varlen",
    arguments=(
        "Tensor q, Tensor k, Tensor v, Tensor cu_seqlens_q, Tensor cu_seqlens_k, Tensor? sinks, int max_seqlen_q, "
        "int max_seqlen_k, int causal, float? scale, int? window_left, int? window_right, float? softcap, "
        "bool deterministic"
    ),
    returns=("out", "logsumexp"),
    inference_returns=1,
    check=check,
    fake=fake,
    composite=composite,
    setup_context=setup_context,
    backward=backward,
    vmap=vmap,
    autocast=autocast,
)
