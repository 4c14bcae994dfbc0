"""gelu(x + bias)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

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
    saved_tensors,
)

FORMS = ("none", "tanh", "sigmoid")  # by the value of csrc/ops/gelu.h's GeluForm
_NONE, _TANH = 0, 1
_SIGMOID_SLOPE = 1.702
_TANH_SLOPE, _TANH_CUBIC = 2 * math.sqrt(2 / math.pi), 0.044715
_LIMITS = (15.0, 15.0, 64.0)  # by the form: beyond it GELU is 0 or the identity, in float32 exactly
# Of p: a Chebyshev fit of this project in t for 0 <= a <= 15, with a relative error of 4e-10, its slope's 2e-8.
_NORMAL_TAIL = (
    0.09973297728,
    0.09979981417,
    0.09280578776,
    0.08536784022,
    0.04648135202,
    0.08668280716,
    -0.04661391461,
    0.06825414031,
    -0.007095483309,
    -0.05529358649,
    0.03743552386,
    -0.00755725844,
)


def activation(x: Tensor, form: int) -> Tensor:
    """Return GELU of x.

    It is relatively accurate for negative x too, and so are its derivatives, where 1 + erf and 1 + tanh cancel: all
    gates are 1 - gate(-x).
    """
    inner, magnitude = _within_limit(x, form)
    y = inner * _gate(inner, _tail(magnitude, form))
    return torch.where(x > _LIMITS[form], x, y)


def activation_backward(gradient: Tensor, x: Tensor, form: int) -> Tensor:
    """Return the gradient times GELU's derivative at x, as accurate as GELU itself."""
    inner, magnitude = _within_limit(x, form)
    tail = _tail(magnitude, form)
    slope = _gate(inner, tail) + inner * _gate_slope(magnitude, tail, form)
    return gradient * torch.where(x > _LIMITS[form], 1.0, slope)


def _within_limit(x: Tensor, form: int) -> tuple[Tensor, Tensor]:
    """Return x so far as the gate changes, and its magnitude, whose slope at 0 is 1 and not 0."""
    inner = x.clamp(-_LIMITS[form], _LIMITS[form])
    return inner, torch.where(inner < 0, -inner, inner)


def _gate(x: Tensor, tail: Tensor) -> Tensor:
    return torch.where(x < 0, tail, 1 - tail)


def _tail(a: Tensor, form: int) -> Tensor:
    """Return the gate of -a, for a >= 0. That of "tanh", 0.5 (1 + tanh(u)), is sigmoid(2 u)."""
    if form == _NONE:
        return _exponential_of_minus_half_square(a) * _normal_tail_factor(a)
    return torch.sigmoid(-_TANH_SLOPE * (a + _TANH_CUBIC * a**3) if form == _TANH else -_SIGMOID_SLOPE * a)


def _gate_slope(a: Tensor, tail: Tensor, form: int) -> Tensor:
    if form == _NONE:
        return _exponential_of_minus_half_square(a) / math.sqrt(2 * math.pi)
    slope = tail * (1 - tail)
    return slope * _TANH_SLOPE * (1 + 3 * _TANH_CUBIC * a.square()) if form == _TANH else slope * _SIGMOID_SLOPE


def _exponential_of_minus_half_square(a: Tensor) -> Tensor:
    """Return e^(-a^2/2). What rounding takes from a^2 matters, but the square of so short a number is exact."""
    short = torch.floor(a * 64) / 64
    return torch.exp(-0.5 * short.square()) * torch.exp(-0.5 * (a - short) * (a + short))


def _normal_tail_factor(a: Tensor) -> Tensor:
    """Return Phi(-a) e^(a^2/2) = t p(t) with t = 1 / (1 + a/4).

    Not by torch.erfc, which was 1 - erf on MPS, nor by torch.special.erfcx, which MPS lacks in torch 2.10.
    """
    t = 1 / (1 + 0.25 * a)
    p = torch.full_like(t, _NORMAL_TAIL[-1])
    for coefficient in reversed(_NORMAL_TAIL[:-1]):
        p = p * t + coefficient
    return t * p


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
    x, bias = saved_tensors(ctx)
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
