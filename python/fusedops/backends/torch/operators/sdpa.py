"""Scaled-dot-product attention.

The formulas work on scores of shape (batch, kv_heads, group, query_length, key_length), where `group` is the number of
query heads that share a head of keys and values; so these are never expanded. A key that a row does not see must have
no influence on it even if it is NaN, and 0 * NaN is NaN: products with a matrix of weights that hides keys first put 0
in the place of what is not finite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    saved_tensors,
)

_UPPER_LEFT = 2  # of csrc/ops/sdpa.h's Causal; anything but 0 is causal


class Options(NamedTuple):
    """The arguments that are no tensors, as the schema orders them."""

    causal: int
    scale: float | None
    window_left: int | None
    window_right: int | None
    softcap: float | None
    deterministic: bool


class Sizes(NamedTuple):
    """The dimensions of a problem, and views of tensors by them.

    These are spelled out as reshapes since the vmap behind torch.autograd.grad(is_grads_batched=True) does not know
    flatten and unflatten.
    """

    batch: int
    kv_heads: int
    group: int
    query_length: int
    key_length: int

    def by_group(self, tensor: Tensor) -> Tensor:
        """Return it as (batch, kv_heads, group, query_length, n)."""
        return tensor.reshape(self.batch, self.kv_heads, self.group, self.query_length, tensor.shape[-1])

    def by_row(self, tensor: Tensor) -> Tensor:
        """Return it as (batch, kv_heads, group * query_length, n)."""
        return tensor.reshape(self.batch, self.kv_heads, self.group * self.query_length, tensor.shape[-1])

    def by_head(self, tensor: Tensor) -> Tensor:
        """Return it as (batch, query_heads, query_length, n)."""
        return tensor.reshape(self.batch, self.kv_heads * self.group, self.query_length, tensor.shape[-1])


def batch_of(q: Tensor, k: Tensor, v: Tensor) -> Any:
    """Return the batch of the output: an array with a batch of one serves every other's."""
    return next((tensor.shape[0] for tensor in (q, k, v) if tensor.shape[0] != 1), 1)


def _in_full(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    batch = batch_of(q, k, v)
    return q.expand(batch, -1, -1, -1), k.expand(batch, -1, -1, -1), v.expand(batch, -1, -1, -1)


def _sizes(q: Tensor, k: Tensor) -> Sizes:
    batch, query_heads, query_length, _ = q.shape
    _, kv_heads, key_length, _ = k.shape
    return Sizes(batch, kv_heads, query_heads // kv_heads if kv_heads else 1, query_length, key_length)


def _scale(q: Tensor, options: Options) -> float:
    return options.scale if options.scale is not None else 1 / math.sqrt(max(q.shape[-1], 1))


def _grouped_sinks(sinks: Tensor, sizes: Sizes, dtype: torch.dtype) -> Tensor:
    """(query_heads,) or (batch, query_heads) -> what broadcasts to the rows, (batch, kv_heads, group, row, 1)."""
    batch = sizes.batch if sinks.dim() == 2 else 1
    return sinks.to(dtype).reshape(batch, sizes.kv_heads, sizes.group, 1, 1)


def _grouped_mask(mask: Tensor, sizes: Sizes) -> Tensor:
    """What broadcasts to (batch, query_heads, query_length, key_length) -> what broadcasts to the scores."""
    mask = mask[(None,) * (4 - mask.dim())]
    batch, heads, *lengths = mask.shape
    return mask.unsqueeze(2) if heads == 1 else mask.reshape(batch, sizes.kv_heads, sizes.group, *lengths)


def _band(sizes: Sizes, options: Options, device: torch.device) -> Tensor | None:
    """Return which keys causality and the window show, (query_length, key_length); None where they show all."""
    left, right = options.window_left, 0 if options.causal else options.window_right
    if left is None and right is None:
        return None
    offset = 0 if options.causal == _UPPER_LEFT else sizes.key_length - sizes.query_length
    queries = torch.arange(sizes.query_length, device=device).unsqueeze(-1)
    distance = torch.arange(sizes.key_length, device=device) - queries - offset
    visible = torch.ones_like(distance, dtype=torch.bool)
    if left is not None:
        visible = visible & (distance >= -left)
    if right is not None:
        visible = visible & (distance <= right)
    return visible


def _visible(mask: Tensor | None, sizes: Sizes, options: Options, device: torch.device) -> Tensor | None:
    """Return which keys each row sees, shaped as the scores or to broadcast to them; None where it is all of them."""
    if sizes.key_length == 0:
        return torch.ones(sizes.query_length, 0, dtype=torch.bool, device=device)
    visible = _band(sizes, options, device)
    if mask is not None:
        shown = mask if mask.dtype == torch.bool else mask != -math.inf
        shown = shown.expand(*shown.shape[:-2], sizes.query_length, sizes.key_length)
        visible = shown if visible is None else visible & shown
    return visible


def _hide(tensor: Tensor, visible: Tensor | None) -> Tensor:
    return tensor if visible is None else torch.where(visible, tensor, 0)


def _finite(tensor: Tensor, visible: Tensor | None) -> Tensor:
    """Return the tensor fit for a product with weights that hide keys: 0 where it is not finite."""
    return tensor if visible is None else tensor.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


class Scores(NamedTuple):
    """What queries and keys, mask and options determine."""

    capped: Tensor  # before the mask
    masked: Tensor  # -inf where hidden, but 0 in rows that see nothing, to keep NaN out; results there are overridden
    visible: Tensor | None
    sees_any: Tensor | None  # of each row


def _scores(q: Tensor, k: Tensor, mask: Tensor | None, sizes: Sizes, options: Options) -> Scores:
    dtype = compute_dtype(q)
    scores = sizes.by_group(sizes.by_row(q.to(dtype)) @ k.to(dtype).mT) * _scale(q, options)
    if options.softcap is not None:
        scores = options.softcap * torch.tanh(scores / options.softcap)
    if mask is not None:
        mask = _grouped_mask(mask, sizes)
    visible = _visible(mask, sizes, options, q.device)
    added = scores if mask is None or mask.dtype == torch.bool else scores + mask.to(dtype)
    if visible is None:
        return Scores(scores, added, None, None)
    sees_any = visible.any(-1, keepdim=True)
    floor = torch.where(sees_any, -math.inf, 0.0).to(dtype)
    return Scores(scores, torch.where(visible, added, floor), visible, sees_any)


def _softmax(scores: Scores, sinks: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Return the weights of the keys, and the sink's for each row."""
    weights, sink_weights = torch.softmax(scores.masked, dim=-1), None
    if sinks is not None:
        excess = sinks - torch.logsumexp(scores.masked, dim=-1, keepdim=True)
        weights = weights * torch.sigmoid(-excess)
        sink_weights = _hide(torch.sigmoid(excess), scores.sees_any)
    return _hide(weights, scores.visible), sink_weights


def _weighted_values(weights: Tensor, values: Tensor, visible: Tensor | None, sizes: Sizes) -> Tensor:
    """Return weights @ values for each row.

    Where keys are hidden, infinity and NaN are put back into the rows that see them. Whether a row sees any is counted
    by a product in the values' own dtype, which is enough for telling 0 from more.
    """
    product = sizes.by_row(weights) @ _finite(values.to(weights.dtype), visible)
    if visible is None:
        return product
    upward = (values == math.inf) | values.isnan()
    downward = (values == -math.inf) | values.isnan()
    seen = sizes.by_row(visible.expand(weights.shape)).to(values.dtype)
    counts = seen @ torch.cat([upward, downward], dim=-1).to(values.dtype)
    sees_upward, sees_downward = (counts > 0).chunk(2, dim=-1)
    product = torch.where(sees_upward, product + math.inf, product)
    return torch.where(sees_downward, product - math.inf, product)


def refuse_deterministic(deterministic: bool, q: Tensor) -> None:
    """Raise where a composite is asked for what depends on how torch's own operators are carried out."""
    if deterministic:
        raise ValueError(
            f"deterministic must be False where torch's own operators compute attention: on {q.device.type}, or "
            "under forward-mode AD; they do not treat all rows alike"
        )


def check(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, sinks: Tensor | None, *options: Any) -> None:
    _core.check_sdpa(describe(q), describe(k), describe(v), describe_optional(mask), describe_optional(sinks), *options)


def fake(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, sinks: Tensor | None, *options: Any) -> Outputs:
    rows = (batch_of(q, k, v), *q.shape[1:-1])
    return q.new_empty((*rows, v.shape[-1])), q.new_empty(rows, dtype=torch.float32)


def composite(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, sinks: Tensor | None, *options: Any) -> Outputs:
    refuse_deterministic(Options(*options).deterministic, q)
    q, k, v = _in_full(q, k, v)
    sizes = _sizes(q, k)
    scores = _scores(q, k, mask, sizes, Options(*options))
    logsumexp = torch.logsumexp(scores.masked, dim=-1, keepdim=True)
    if sinks is not None:
        sinks = _grouped_sinks(sinks, sizes, logsumexp.dtype)
        logsumexp = torch.logaddexp(logsumexp, sinks)
    # Where a row's scores are infinite its softmax is NaN; torch calls their logsumexp infinite, kernels NaN.
    logsumexp = torch.where(logsumexp.isfinite(), logsumexp, math.nan)
    if scores.sees_any is not None:
        logsumexp = torch.where(scores.sees_any, logsumexp, -math.inf)
    weights, _ = _softmax(scores, sinks)
    out = _weighted_values(weights, v, scores.visible, sizes)
    return sizes.by_head(out).to(q.dtype).contiguous(), sizes.by_head(logsumexp).squeeze(-1).contiguous()


def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
    ctx.save_for_backward(*inputs[:5])
    ctx.options = Options(*inputs[5:])


def backward(ctx: Any, grad_out: Tensor, grad_logsumexp: Tensor) -> tuple[Tensor | None, ...]:
    gradients_of = gradients(saved_tensors(ctx), ctx.options, ctx.needs_input_grad[:5], grad_out, grad_logsumexp)
    return *gradients_of, *(None,) * len(ctx.options)


def gradients(
    tensors: tuple[Any, ...], options: Options, needed: tuple[bool, ...], grad_out: Tensor, grad_logsumexp: Tensor
) -> tuple[Tensor | None, ...]:
    """Return the gradients of q, k, v, mask and sinks, or None where not needed."""
    mask, sinks = tensors[3:]
    q, k, v = _in_full(*tensors[:3])
    needs_q, needs_k, needs_v, needs_mask, needs_sinks = needed
    sizes, dtype = _sizes(q, k), compute_dtype(q)
    grad_q = grad_k = grad_v = grad_mask = grad_sinks = None
    scores = _scores(q, k, mask, sizes, options)
    visible = scores.visible
    weights, sink_weights = _softmax(scores, None if sinks is None else _grouped_sinks(sinks, sizes, dtype))
    grad_rows = sizes.by_row(grad_out.to(dtype))
    if needs_v:
        grad_v = _as(tensors[2], _values_gradient(weights, grad_rows, visible, sizes))

    grad_weights = sizes.by_group(grad_rows @ v.to(dtype).mT)
    # What the normalisation takes from every score of a row, less what the row's logsumexp asks for.
    shared = _hide(weights * grad_weights, visible).sum(-1, keepdim=True)
    shared = shared - sizes.by_group(grad_logsumexp.unsqueeze(-1))
    grad_scores = _hide(weights * (grad_weights - shared), visible)
    if needs_mask:
        grad_mask = _as(mask, sizes.by_head(grad_scores))
    if sink_weights is not None and needs_sinks:
        grad_sinks = _as(sinks, -sizes.by_head(sink_weights * shared).sum((2, 3)))

    if options.softcap is not None:
        grad_scores = grad_scores * _hide(1 - (scores.capped / options.softcap).square(), visible)
    grad_products = sizes.by_row(grad_scores * _scale(q, options))
    # What is not finite in q or k has made its scores NaN, so that the gradients of who sees it are NaN already.
    if needs_q:
        grad_q = _as(tensors[0], sizes.by_head(grad_products @ _finite(k.to(dtype), visible)))
    if needs_k:
        grad_k = _as(tensors[1], grad_products.mT @ _finite(sizes.by_row(q.to(dtype)), visible))
    return grad_q, grad_k, grad_v, grad_mask, grad_sinks


def _as(tensor: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient summed to the tensor's shape, and then rounded to its dtype."""
    return gradient.sum_to_size(tensor.shape).to(tensor.dtype)


def composite_backward(
    grad_out: Tensor,
    grad_logsumexp: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    sinks: Tensor | None,
    *options_and_output_mask: Any,
) -> Outputs:
    *options, output_mask = options_and_output_mask
    tensors = (q, k, v, mask, sinks)
    return without_none(q, gradients(tensors, Options(*options), output_mask, grad_out, grad_logsumexp))


def fake_backward(grad_out: Tensor, grad_logsumexp: Tensor, *arguments: Any) -> Outputs:
    *tensors, output_mask = (*arguments[:5], arguments[-1])
    return fake_gradients(tuple(tensors), output_mask)


def without_none(like: Tensor, gradients_of: tuple[Tensor | None, ...]) -> Outputs:
    """Return the gradients as a schema has them: empty ones in the place of None."""
    return tuple(like.new_empty(0) if gradient is None else gradient.contiguous() for gradient in gradients_of)


def fake_gradients(tensors: tuple[Tensor | None, ...], output_mask: Sequence[bool]) -> Outputs:
    """Return gradients of these tensors' shapes and dtypes, and empty ones where they are not wanted."""
    like = tensors[0]
    assert like is not None
    return tuple(
        like.new_empty(0) if tensor is None or not wanted else tensor.new_empty(tensor.shape)
        for tensor, wanted in zip(tensors, output_mask, strict=True)
    )


def only_wanted(gradients_of: Outputs, output_mask: Sequence[bool]) -> tuple[Tensor | None, ...]:
    """Return the gradients with None in the place of those that are not wanted."""
    return tuple(gradient if wanted else None for gradient, wanted in zip(gradients_of, output_mask, strict=True))


def fused_backward(ctx: Any, grad_out: Tensor, grad_logsumexp: Tensor) -> tuple[Tensor | None, ...]:
    output_mask = ctx.needs_input_grad[:5]
    outputs = BACKWARD.overload(grad_out, grad_logsumexp, *ctx.saved_tensors, *ctx.options, output_mask)
    return *only_wanted(outputs, output_mask), *(None,) * len(ctx.options)


def _values_gradient(weights: Tensor, grad_rows: Tensor, visible: Tensor | None, sizes: Sizes) -> Tensor:
    """Return the gradient of the values; NaN for all that a row with a gradient that is not finite sees."""
    gradient = sizes.by_row(weights).mT @ _finite(grad_rows, visible)
    if visible is None:
        return gradient
    broken = ~sizes.by_group(grad_rows).isfinite().all(-1, keepdim=True)
    reached = (visible & broken).any(dim=(2, 3))
    return gradient.masked_fill(reached.unsqueeze(-1), math.nan)


def vmap(
    variant: Any,
    batch_size: int,
    in_dims: tuple[Any, ...],
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    sinks: Tensor | None,
    *options: Any,
) -> Outputs:
    """Fold the mapped dimension into the batch."""
    q, k, v = (batch_first(tensor, dim, batch_size) for tensor, dim in zip((q, k, v), in_dims[:3], strict=True))
    batch = batch_of(q[0], k[0], v[0])
    q, k, v = (tensor.expand(-1, batch, -1, -1, -1) for tensor in (q, k, v))
    if mask is not None:
        mask = _fold_mask(mask, in_dims[3], batch_size, batch)
    if sinks is not None and (in_dims[4] is not None or sinks.dim() == 2):
        sinks = batch_first(sinks, in_dims[4], batch_size)
        sinks = (sinks if sinks.dim() == 3 else sinks.unsqueeze(1)).expand(-1, batch, -1).flatten(0, 1)
    outputs = variant(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), mask, sinks, *options)
    return tuple(torch.unflatten(output, 0, (batch_size, batch)) for output in outputs)


def _fold_mask(mask: Tensor, dim: int | None, batch_size: int, batch: int) -> Tensor:
    if dim is None and (mask.dim() < 4 or mask.shape[0] == 1):
        return mask  # broadcasts over the folded batch as it is
    mask = batch_first(mask, dim, batch_size)
    mask = torch.unflatten(mask, 0, (batch_size, *(1,) * (5 - mask.dim())))
    return mask.expand(-1, batch, -1, -1, -1).flatten(0, 1)


def autocast(
    device_type: str,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *others: Any,
) -> tuple[Any, ...]:
    dtype = torch.get_autocast_dtype(device_type)
    return *(autocast_to(dtype, tensor) for tensor in (q, k, v)), *others


ARGUMENTS = (
    "Tensor q, Tensor k, Tensor v, Tensor? mask, Tensor? sinks, int causal, float? scale, SymInt? window_left, "
    "SymInt? window_right, float? softcap, bool deterministic"
)

BACKWARD = Backward(
    name="sdpa_backward",
    arguments=f"Tensor grad_out, Tensor grad_logsumexp, {ARGUMENTS}, bool[5] output_mask",
    returns=("grad_q", "grad_k", "grad_v", "grad_mask", "grad_sinks"),
    fake=fake_backward,
    call=fused_backward,
    composite=composite_backward,
)

OPERATOR = Operator(
    name="sdpa",
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
