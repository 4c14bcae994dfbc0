"""gelu(x + bias)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from fusedops import _core

from ..library import (
    Backward,
    Operator,
    Outputs,
    batch_first,
    compute_dtype,
    describe,
    describe_optional,
    rounded,
    rowwise,
)

FORMS = ("none", "tanh", "sigmoid")  # by the value of csrc/ops/gelu.h's GeluForm
_TANH, _SIGMOID = 1, 2
_SIGMOID_SLOPE = 1.702
_LIMIT = 100.0  # beyond it every form is 0 or the identity, in float32 exactly; the formulas give NaN at infinity


def activation(x: Tensor, form: int) -> Tensor:
    """Return GELU of x."""
    inner = x.clamp(-_LIMIT, _LIMIT)
    if form == _SIGMOID:
        y = inner * torch.sigmoid(_SIGMOID_SLOPE * inner)
    elif form == _TANH:
        y = functional.gelu(inner, approximate="tanh")
    else:  # not by torch's own, which is less accurate on CPUs
        y = 0.5 * inner * (1 + torch.erf(inner / math.sqrt(2)))
    return torch.where(x > _LIMIT, x, y)


def activation_backward(gradient: Tensor, x: Tensor, form: int) -> Tensor:
    """Return the gradient times GELU's derivative at x."""
    inner = x.clamp(-_LIMIT, _LIMIT)
    if form == _SIGMOID:
        sigmoid = torch.sigmoid(_SIGMOID_SLOPE * inner)
        return gradient * sigmoid * (1 + _SIGMOID_SLOPE * inner * (1 - sigmoid))
    grad_x: Tensor = torch.ops.aten.gelu_backward(gradient, inner, approximate=FORMS[form])
    return grad_x


def check(x: Tensor, bias: Tensor | None, form: int) -> None:
    _core.check_gelu(describe(x), describe_optional(bias), FORMS[form])


def fake(x: Tensor, bias: Tensor | None, form: int) -> Outputs:
    return (x.new_empty(x.shape),)


def _biased(x: Tensor, bias: Tensor | None) -> Tensor:
    dtype = compute_dtype(x)
    return x.to(dtype) if bias is None else x.to(dtype) + bias.to(dtype)


def composite(x: Tensor, bias: Tensor | None, form: int) -> Outputs:
    return (activation(_biased(x, bias), form).to(x.dtype).contiguous(),)


def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, bias, ctx.form = inputs
    ctx.save_for_backward(x, bias)


def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, bias = ctx.saved_tensors
    biased = _biased(x, bias)
    grad_biased = activation_backward(gradient.to(biased.dtype), biased, ctx.form)
    grad_bias = None if bias is None else grad_biased.sum_to_size(bias.shape)
    needs_x, needs_bias = ctx.needs_input_grad[:2]
    return rounded(grad_biased, x, needs_x), rounded(grad_bias, bias, needs_bias), None


def fake_backward(grad_y: Tensor, x: Tensor, bias: Tensor | None, form: int) -> Outputs:
    return x.new_empty(x.shape), x.new_empty(0) if bias is None else bias.new_empty(bias.shape)


def fused_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    x, bias = ctx.saved_tensors
    grad_x, grad_bias = BACKWARD.overload(gradient, x, bias, ctx.form)
    return grad_x, None if bias is None else grad_bias, None


BACKWARD = Backward(
    name="gelu_backward",
    arguments="Tensor grad_y, Tensor x, Tensor? bias, int form",
    returns=("grad_x", "grad_bias"),
    fake=fake_backward,
    call=fused_backward,
)


def vmap(variant: Any, batch_size: int, in_dims: tuple[Any, ...], x: Tensor, bias: Tensor | None, form: int) -> Outputs:
    x = batch_first(x, in_dims[0], batch_size)
    if bias is None or in_dims[1] is None:
        outputs: Outputs = variant(x, bias, form)
        return outputs
    return composite(x, rowwise(bias.movedim(in_dims[1], 0), x), form)


OPERATOR = Operator(
    name="gelu",
    arguments="Tensor x, Tensor? bias, int form",
    returns=("y",),
    inference_returns=1,
    check=check,
    fake=fake,
    composite=composite,
    setup_context=setup_context,
    backward=backward,
    vmap=vmap,
    fused_backward=BACKWARD,
)
