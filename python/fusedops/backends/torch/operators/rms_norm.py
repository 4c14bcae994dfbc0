"""RMSNorm."""

from __future__ import annotations

from typing import Any

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
    rowwise,
    saved_tensors,
    to_widest_dtype,
)


def normalize(x: Tensor, weight: Tensor | None, eps: float, weight_offset: float) -> tuple[Tensor, Tensor]:
    """Return y and the reciprocal RMS of each row."""
    return normalize_to(x.dtype, x, weight, eps, weight_offset)


def normalize_to(
    dtype: torch.dtype, x: Tensor, weight: Tensor | None, eps: float, weight_offset: float
) -> tuple[Tensor, Tensor]:
    """Return y in `dtype`, and the reciprocal RMS of each row."""
    wide = x.to(compute_dtype(x))
    factor = _factor(weight, weight_offset, wide.dtype)
    if x.shape[-1] == 0:  # there may be more rows than memory holds numbers
        return (wide * factor).to(dtype).contiguous(), torch.rsqrt(wide.new_tensor(eps)).expand(x.shape[:-1])
    power = _power(wide, eps)
    scaled = wide * power.unsqueeze(-1)
    mean_square = scaled.square().sum(-1) / x.shape[-1]
    scaled_reciprocal_rms = torch.rsqrt(mean_square + eps * power * power)
    y = scaled * scaled_reciprocal_rms.unsqueeze(-1) * factor
    return y.to(dtype).contiguous(), scaled_reciprocal_rms * power


def _power(x: Tensor, eps: float) -> Tensor:
    """Return a power of two for each row that brings it, or what eps adds, near 1.

    So float32 holds the squares of any row, and what derivatives are made of: the cube of the reciprocal RMS, and its
    fifth power.
    """
    least = max(eps**0.5, 2.0**-126)
    largest = x.detach().abs().amax(-1).clamp(least, 2.0**126)
    return torch.exp2(-largest.log2().floor())


def gradients(
    x: Tensor,
    weight: Tensor | None,
    weight_offset: float,
    reciprocal_rms: Tensor,
    grad_y: Tensor,
    grad_reciprocal_rms: Tensor,
) -> tuple[Tensor, Tensor | None]:
    """Return the gradients of x and of the weight, not yet rounded to their dtypes.

    The reciprocal RMS depends on x too; its cotangent is honoured, so that this function can be differentiated in turn.
    """
    wide = x.to(compute_dtype(x))
    scale = reciprocal_rms.unsqueeze(-1)
    normalized = wide * scale
    grad_y = grad_y.to(wide.dtype)
    grad_normalized = grad_y * _factor(weight, weight_offset, wide.dtype)
    projection = (grad_normalized * normalized).sum(-1, keepdim=True) + grad_reciprocal_rms.unsqueeze(-1) * scale
    grad_x = scale * (grad_normalized - normalized * (projection / max(x.shape[-1], 1)))
    return grad_x, None if weight is None else (grad_y * normalized).sum_to_size(weight.shape)


def _factor(weight: Tensor | None, weight_offset: float, dtype: torch.dtype) -> Tensor | float:
    return 1 + weight_offset if weight is None else weight.to(dtype) + weight_offset


def check(x: Tensor, weight: Tensor | None, eps: float, weight_offset: float) -> None:
    _core.check_rms_norm(describe(x), describe_optional(weight), None, eps, weight_offset)


def fake(x: Tensor, weight: Tensor | None, eps: float, weight_offset: float) -> Outputs:
    return x.new_empty(x.shape), x.new_empty(x.shape[:-1], dtype=torch.float32)


def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Outputs) -> None:
    x, weight, ctx.eps, ctx.weight_offset = inputs
    ctx.save_for_backward(x, weight, output[1])


def backward(ctx: Any, grad_y: Tensor, grad_reciprocal_rms: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, reciprocal_rms = saved_tensors(ctx)
    grad_x, grad_weight = gradients(x, weight, ctx.weight_offset, reciprocal_rms, grad_y, grad_reciprocal_rms)
    needs_x, needs_weight = ctx.needs_input_grad[:2]
    return rounded(grad_x, x, needs_x), rounded(grad_weight, weight, needs_weight), None, None


def fake_backward(
    grad_y: Tensor,
    grad_sum: Tensor | None,
    grad_reciprocal_rms: Tensor,
    x: Tensor,
    weight: Tensor | None,
    eps: float,
    weight_offset: float,
) -> Outputs:
    return x.new_empty(x.shape), x.new_empty(0) if weight is None else weight.new_empty(weight.shape)


def fused_gradients(ctx: Any, grad_y: Tensor, grad_sum: Tensor | None, grad_reciprocal_rms: Tensor) -> Outputs:
    """Return the gradients of what was normalised and of the weight, the latter empty without one."""
    x, weight, _ = ctx.saved_tensors
    outputs: Outputs = BACKWARD.overload(grad_y, grad_sum, grad_reciprocal_rms, x, weight, ctx.eps, ctx.weight_offset)
    return outputs


def fused_backward(ctx: Any, grad_y: Tensor, grad_reciprocal_rms: Tensor) -> tuple[Tensor | None, ...]:
    grad_x, grad_weight = fused_gradients(ctx, grad_y, None, grad_reciprocal_rms)
    return grad_x, grad_weight if ctx.needs_input_grad[1] else None, None, None


BACKWARD = Backward(
    name="rms_norm_backward",
    arguments=(
        "Tensor grad_y, Tensor? grad_sum, Tensor grad_reciprocal_rms, Tensor x, Tensor? weight, float eps, "
        "float weight_offset"
    ),
    returns=("grad_x", "grad_weight"),
    fake=fake_backward,
    call=fused_backward,
)


def vmap(
    variant: Any,
    batch_size: int,
    in_dims: tuple[Any, ...],
    x: Tensor,
    weight: Tensor | None,
    eps: float,
    weight_offset: float,
) -> Outputs:
    x = batch_first(x, in_dims[0], batch_size)
    if weight is None or in_dims[1] is None:
        outputs: Outputs = variant(x, weight, eps, weight_offset)
        return outputs
    return normalize(x, rowwise(weight.movedim(in_dims[1], 0), x), eps, weight_offset)


def autocast(device_type: str, x: Tensor, *others: Any) -> tuple[Any, ...]:
    return *autocast_operands(device_type, x), *others


def autocast_operands(device_type: str, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Return x, and the residual, in the dtype that torch's rms_norm would compute them in.

    Under torch.autocast that is float32 on some devices, depending on torch's version.
    """
    if torch._C._dispatch_has_kernel_for_dispatch_key("aten::rms_norm", f"Autocast{device_type.upper()}"):
        return tuple(autocast_to(torch.float32, tensor) for tensor in tensors)
    return to_widest_dtype(*tensors)


OPERATOR = Operator(
    name="rms_norm",
    arguments="Tensor x, Tensor? weight, float eps, float weight_offset",
    returns=("y", "reciprocal_rms"),
    inference_returns=1,
    check=check,
    fake=fake,
    composite=normalize,
    setup_context=setup_context,
    backward=backward,
    vmap=vmap,
    autocast=autocast,
    fused_backward=BACKWARD,
)
