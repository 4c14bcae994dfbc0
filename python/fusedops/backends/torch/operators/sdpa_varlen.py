"""Scaled-dot-product attention of packed sequences.

The composite pads the sequences to the lengths of the longest ones and runs that of sdpa, with a mask of what is there;
where lengths are known, similar ones are padded together. Rows move in both directions by gathering: so gradients do,
too, and nothing is added up in an order that may change.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fusedops import _core

from ..library import (
    Backward,
    Operator,
    Outputs,
    autocast_to,
    batch_first,
    compute_dtype,
    describe,
    describe_optional,
    rounded,
    saved_tensors,
)
from ..tensors import has_values
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


class Group(NamedTuple):
    """Sequences that are padded together: their indices (all of them if None), and the longest lengths among them."""

    members: Tensor | None
    longest_query: int
    longest_key: int


class Padding:
    """Some sequences of a packed tensor, each with room for the longest of them."""

    def __init__(self, first: Tensor, lengths: Tensor, longest: int, total: int) -> None:
        self.lengths = lengths
        self.positions = torch.arange(longest, device=first.device)
        self.present = self.positions < lengths.unsqueeze(-1)  # (sequences, longest)
        self.elements = (first.unsqueeze(-1) + self.positions).clamp(0, total - 1)

    def padded(self, packed: Tensor) -> Tensor:
        """(total, heads, n) -> (sequences, heads, longest, n), zeros where there is no element."""
        rows = torch.where(self.present[:, :, None, None], packed[self.elements], 0)
        return rows.transpose(1, 2)


class Sequences:
    """The sequences of one packed tensor, and how to pad and unpad them; there is at least one, and an element.

    Args:
        cu_seqlens: Where they end.
        total: The elements of all.
        groups: For each group its members, as Group has them, and their longest length.
    """

    def __init__(self, cu_seqlens: Tensor, total: int, groups: Sequence[tuple[Tensor | None, int]]) -> None:
        cu_seqlens = cu_seqlens.long()
        first, end = cu_seqlens[:-1], cu_seqlens[1:]
        self.groups = [
            Padding(*((first, end - first) if members is None else (first[members], (end - first)[members])), n, total)
            for members, n in groups
        ]
        row, room = self._first_rows(first, groups)
        element = torch.arange(total, device=first.device)
        sequence = torch.bucketize(element, end, right=True).clamp(max=first.shape[0] - 1)
        position = (element - first[sequence]).clamp(min=0)
        self.rows = row[sequence] + torch.minimum(position, room[sequence] - 1)

    @staticmethod
    def _first_rows(first: Tensor, groups: Sequence[tuple[Tensor | None, int]]) -> tuple[Tensor, Tensor]:
        """Return at which of all groups' padded rows each sequence begins, and how many it has."""
        order, row, room, begin = [], [], [], 0
        for members, longest in groups:
            each = torch.arange(first.shape[0] if members is None else members.shape[0], device=first.device)
            order.append(each if members is None else members)
            row.append(begin + each * longest)
            room.append(torch.full_like(each, longest))
            begin += each.shape[0] * longest
        by_sequence = torch.cat(order).argsort()
        return torch.cat(row)[by_sequence], torch.cat(room)[by_sequence]

    def packed(self, padded: Sequence[Tensor]) -> Tensor:
        """Each group's (sequences, heads, longest, n) -> (total, heads, n)."""
        rows = [each.transpose(1, 2) for each in padded]
        # Without -1 and flatten(): the one fails on empty rows, the other under autograd's vmap over cotangents.
        return torch.cat([each.reshape(each.shape[0] * each.shape[1], *each.shape[2:]) for each in rows])[self.rows]


def _fit(cu_seqlens: Tensor, total: int, max_length: int) -> Tensor:
    """Return whether the sequences cover the packed tensor, none being too long, as a tensor: nobody waits for it."""
    lengths = cu_seqlens.diff()
    each = ((lengths >= 0) & (lengths <= max_length)).all()
    return each & (cu_seqlens[0] == 0) & (cu_seqlens[-1] == total)


def _nan_unless(fit: Tensor, tensor: Tensor) -> Tensor:
    return torch.where(fit, tensor, math.nan)


def _groups(q: Tensor, k: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, options: Options) -> list[Group]:
    """Return all sequences in one group, or in groups of similar lengths where these are known.

    Within a group neither length is twice another's, so that at most three quarters of what is computed is padding.
    """
    if has_values(cu_seqlens_q) and has_values(cu_seqlens_k) and _is_fit(q, k, cu_seqlens_q, cu_seqlens_k, options):
        members = defaultdict(list)
        lengths = list(zip(cu_seqlens_q.diff().tolist(), cu_seqlens_k.diff().tolist(), strict=True))
        for index, (query_length, key_length) in enumerate(lengths):
            members[query_length.bit_length(), key_length.bit_length()].append(index)
        return [
            Group(torch.tensor(chosen), *(max(1, *(lengths[i][side] for i in chosen)) for side in (0, 1)))
            for chosen in members.values()
        ]
    longest_query, longest_key = min(options.max_seqlen_q, q.shape[0]), min(options.max_seqlen_k, k.shape[0])
    return [Group(None, max(longest_query, 1), max(longest_key, 1))]


class Batches:
    """The sequences as a batch of padded ones for each group. What is there in either is all there is to see."""

    def __init__(self, q: Tensor, k: Tensor, cu_seqlens_q: Tensor, cu_seqlens_k: Tensor, options: Options) -> None:
        groups = _groups(q, k, cu_seqlens_q, cu_seqlens_k, options)
        self.queries = Sequences(cu_seqlens_q, q.shape[0], [(group.members, group.longest_query) for group in groups])
        self.keys = Sequences(cu_seqlens_k, k.shape[0], [(group.members, group.longest_key) for group in groups])
        self.options = options

    def __iter__(self) -> Iterator[tuple[Padding, Padding]]:
        """Iterate over the groups' queries and keys."""
        return zip(self.queries.groups, self.keys.groups, strict=True)

    def tensors(
        self, queries: Padding, keys: Padding, q: Tensor, k: Tensor, v: Tensor, sinks: Tensor | None
    ) -> tuple[Any, ...]:
        """Return what sdpa takes for a group."""
        visible = _visible(queries, keys, self.options)
        return queries.padded(q), keys.padded(k), keys.padded(v), visible, sinks


def _visible(queries: Padding, keys: Padding, options: Options) -> Tensor:
    """Return which keys each query of a group sees: (sequences, 1, longest query, longest key)."""
    visible = queries.present.unsqueeze(-1) & keys.present.unsqueeze(-2)
    offset = torch.zeros_like(keys.lengths) if options.causal == _UPPER_LEFT else keys.lengths - queries.lengths
    distance = keys.positions - queries.positions.unsqueeze(-1) - offset[:, None, None]
    left, right = options.window_left, 0 if options.causal else options.window_right
    if left is not None:
        visible = visible & (distance >= -left)
    if right is not None:
        visible = visible & (distance <= right)
    return visible.unsqueeze(1)


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
    batches = Batches(q, k, cu_seqlens_q, cu_seqlens_k, options)
    outputs = [
        sdpa.composite(*batches.tensors(queries, keys, q, k, v, sinks), *options.of_batch())
        for queries, keys in batches
    ]
    out = batches.queries.packed([out for out, _ in outputs])
    logsumexp = batches.queries.packed([logsumexp.unsqueeze(-1) for _, logsumexp in outputs]).squeeze(-1)
    return _nan_unless(fit, out), _nan_unless(fit, logsumexp).mT.contiguous()


def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
    ctx.save_for_backward(*inputs[:6])
    ctx.options = Options(*inputs[6:])


def backward(ctx: Any, grad_out: Tensor, grad_logsumexp: Tensor) -> tuple[Tensor | None, ...]:
    needed = _output_mask(ctx)
    grad_q, grad_k, grad_v, grad_sinks = gradients(saved_tensors(ctx), ctx.options, needed, grad_out, grad_logsumexp)
    return grad_q, grad_k, grad_v, None, None, grad_sinks, *(None,) * len(ctx.options)


def _output_mask(ctx: Any) -> tuple[bool, ...]:
    needs_q, needs_k, needs_v, _, _, needs_sinks = ctx.needs_input_grad[:6]
    return needs_q, needs_k, needs_v, needs_sinks


def gradients(
    tensors: tuple[Any, ...], options: Options, needed: Sequence[bool], grad_out: Tensor, grad_logsumexp: Tensor
) -> tuple[Tensor | None, ...]:
    """Return the gradients of q, k, v and sinks, or None where not needed."""
    q, k, v, cu_seqlens_q, cu_seqlens_k, sinks = tensors
    needs_q, needs_k, needs_v, needs_sinks = needed
    if not _has_scores(q, k, cu_seqlens_q):
        return tuple(torch.zeros_like(x) if need else None for x, need in zip((q, k, v, sinks), needed, strict=True))
    batches = Batches(q, k, cu_seqlens_q, cu_seqlens_k, options)
    wide_sinks = None if sinks is None else sinks.to(compute_dtype(q))  # their gradients are added up
    of_groups = [
        sdpa.gradients(
            batches.tensors(queries, keys, q, k, v, wide_sinks),
            options.of_batch(),
            (needs_q, needs_k, needs_v, False, needs_sinks),
            queries.padded(grad_out),
            queries.padded(grad_logsumexp.mT.unsqueeze(-1)).squeeze(-1),
        )
        for queries, keys in batches
    ]
    fit = _is_fit(q, k, cu_seqlens_q, cu_seqlens_k, options)
    grad_q, grad_k, grad_v, _, grad_sinks = zip(*of_groups, strict=True)

    def packed(sequences: Sequences, gradient: Sequence[Any], is_needed: bool) -> Tensor | None:
        return _nan_unless(fit, sequences.packed(gradient)) if is_needed else None

    queries, keys = batches.queries, batches.keys
    of_sinks = rounded(sum(grad_sinks), sinks, needs_sinks) if sinks is not None and needs_sinks else None
    return packed(queries, grad_q, needs_q), packed(keys, grad_k, needs_k), packed(keys, grad_v, needs_v), of_sinks


def composite_backward(grad_out: Tensor, grad_logsumexp: Tensor, *arguments: Any) -> Outputs:
    tensors, options, output_mask = arguments[:6], Options(*arguments[6:-1]), arguments[-1]
    return sdpa.without_none(tensors[0], gradients(tensors, options, output_mask, grad_out, grad_logsumexp))


def fake_backward(grad_out: Tensor, grad_logsumexp: Tensor, *arguments: Any) -> Outputs:
    q, k, v, _, _, sinks = arguments[:6]
    return sdpa.fake_gradients((q, k, v, sinks), arguments[-1])


def fused_backward(ctx: Any, grad_out: Tensor, grad_logsumexp: Tensor) -> tuple[Tensor | None, ...]:
    output_mask = _output_mask(ctx)
    outputs = BACKWARD.overload(grad_out, grad_logsumexp, *ctx.saved_tensors, *ctx.options, output_mask)
    grad_q, grad_k, grad_v, grad_sinks = sdpa.only_wanted(outputs, output_mask)
    return grad_q, grad_k, grad_v, None, None, grad_sinks, *(None,) * len(ctx.options)


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


ARGUMENTS = (
    "Tensor q, Tensor k, Tensor v, Tensor cu_seqlens_q, Tensor cu_seqlens_k, Tensor? sinks, SymInt max_seqlen_q, "
    "SymInt max_seqlen_k, int causal, float? scale, SymInt? window_left, SymInt? window_right, float? softcap, "
    "bool deterministic"
)

BACKWARD = Backward(
    name="sdpa_varlen_backward",
    arguments=f"Tensor grad_out, Tensor grad_logsumexp, {ARGUMENTS}, bool[4] output_mask",
    returns=("grad_q", "grad_k", "grad_v", "grad_sinks"),
    fake=fake_backward,
    call=fused_backward,
    composite=composite_backward,
)

OPERATOR = Operator(
    name="sdpa_varlen",
    arguments=ARGUMENTS,
    returns=("out", "logsumexp"),
    inference_returns=1,
    check=check,
    fake=fake,
    composite=composite,
    setup_context=setup_context,
    backward=backward,
    vmap=vmap,
    autocast=autocast,
    fused_backward=BACKWARD,
)
