"""RMSNorm of x + residual, which is rounded to the residual's dtype first and returned too."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from fusedops import _core

from ..library import Operator, Outputs, batch_first, describe, describe_optional, rounded, rowwise, saved_tensors
from . import rms_norm
from .rms_norm import autocast_operands, fused_gradients, gradients, normalize_to


def check(x: Tensor, residual: Tensor, weight: Tensor | None, eps: float, weight_offset: float) -> None:
    _core.check_rms_norm(describe(x), describe_optional(weight), describe(residual), eps, weight_offset)


def fake(x: Tensor, residual: Tensor, weight: Tensor | None, eps: float, weight_offset: float) -> Outputs:
    return x.new_empty(x.shape), residual.new_empty(x.shape), x.new_empty(x.shape[:-1], dtype=torch.float32)


def composite(x: Tensor, residual: Tensor, weight: Tensor | None, eps: float, weight_offset: float) -> Outputs:
    total = (x + residual).contiguous()
    y, reciprocal_rms = normalize_to(x.dtype, total, weight, eps, weight_offset)
    return y, total, reciprocal_rms


def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
    x, _, weight, ctx.eps, ctx.weight_offset = inputs
    ctx.dtype = x.dtype
    _, total, reciprocal_rms = output
    ctx.save_for_backward(total, weight, reciprocal_rms)


def backward(ctx: Any, grad_y: Tensor, grad_total: Tensor, grad_reciprocal_rms: Tensor) -> tuple[Tensor | None, ...]:
    total, weight, reciprocal_rms = saved_tensors(ctx)
    grad_normed, grad_weight = gradients(total, weight, ctx.weight_offset, reciprocal_rms, grad_y, grad_reciprocal_rms)
    grad_total = (grad_normed + grad_total).to(total.dtype)
    needs_x, needs_residual, needs_weight = ctx.needs_input_grad[:3]
    grad_x, grad_residual = grad_total.to(ctx.dtype) if needs_x else None, grad_total if needs_residual else None
    return grad_x, grad_residual, rounded(grad_weight, weight, needs_weight), None, None


def fused_backward(
    ctx: Any, grad_y: Tensor, grad_total: Tensor, grad_reciprocal_rms: Tensor
) -> tuple[Tensor | None, ...]:
    grad_total, grad_weight = fused_gradients(ctx, grad_y, grad_total, grad_reciprocal_rms)
    needs_x, needs_residual, needs_weight = ctx.needs_input_grad[:3]
    grad_x, grad_residual = grad_total.to(ctx.dtype) if needs_x else None, grad_total if needs_residual else None
    return grad_x, grad_residual, grad_weight if needs_weight else None, None, None


def vmap(
    variant: Any,
    batch_size: int,
    in_dims: tuple[Any, ...],
    x: Tensor,
    residual: Tensor,
    weight: Tensor | None,
    eps: float,
    weight_offset: float,
) -> Outputs:
    x = batch_first(x, in_dims[0], batch_size)
    residual = batch_first(residual, in_dims[1], batch_size)
    if weight is None or in_dims[2] is None:
        outputs: Outputs = variant(x, residual, weight, eps, weight_offset)
        return outputs
    return composite(x, residual, rowwise(weight.movedim(in_dims[2], 0), x), eps, weight_offset)


def autocast(device_type: str, x: Tensor, residual: Tensor, *others: Any) -> tuple[Any, ...]:
    return *autocast_operands(device_type, x, residual), *others


OPERATOR = Operator(
    name="add_rms_norm",
    arguments="Tensor x, Tensor residual, Tensor? weight, float eps, float weight_offset",
    returns=("y", "sum", "reciprocal_rms"),
    inference_returns=2,
    check=check,
    fake=fake,
    composite=composite,
    setup_context=setup_context,
    backward=backward,
    vmap=vmap,
    autocast=autocast,
    fused_backward=replace(rms_norm.BACKWARD, call=fused_backward),
)
