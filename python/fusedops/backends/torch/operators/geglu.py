"""gelu(gate) * up."""

from __future__ import annotations

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
    saved_tensors,
    to_widest_dtype,
)
from .gelu import FORMS, activation, activation_backward


def check(gate: Tensor, up: Tensor | None, form: int, gate_first: bool) -> None:
    _core.check_geglu(describe(gate), describe_optional(up), FORMS[form], gate_first)


def fake(gate: Tensor, up: Tensor | None, form: int, gate_first: bool) -> Outputs:
    shape = gate.shape if up is not None else (*gate.shape[:-1], gate.shape[-1] // 2)
    return (gate.new_empty(shape),)


def _halves(gate: Tensor, up: Tensor | None, gate_first: bool) -> tuple[Tensor, Tensor]:
    """Return gate and up, in the dtype that is computed in."""
    if up is None:
        first, second = gate.chunk(2, dim=-1)
        gate, up = (first, second) if gate_first else (second, first)
    dtype = compute_dtype(gate)
    return gate.to(dtype), up.to(dtype)


def composite(gate: Tensor, up: Tensor | None, form: int, gate_first: bool) -> Outputs:
    left, right = _halves(gate, up, gate_first)
    return ((activation(left, form) * right).to(gate.dtype).contiguous(),)


def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    gate, up, ctx.form, ctx.gate_first = inputs
    ctx.save_for_backward(gate, up)


def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    gate, up = saved_tensors(ctx)
    left, right = _halves(gate, up, ctx.gate_first)
    gradient = gradient.to(left.dtype)
    grad_left = activation_backward(gradient * right, left, ctx.form)
    grad_right = gradient * activation(left, ctx.form)
    if up is None:
        halves = [grad_left, grad_right] if ctx.gate_first else [grad_right, grad_left]
        return torch.cat(halves, dim=-1).to(gate.dtype), None, None, None
    needs_gate, needs_up = ctx.needs_input_grad[:2]
    return rounded(grad_left, gate, needs_gate), rounded(grad_right, up, needs_up), None, None


def fake_backward(grad_y: Tensor, gate: Tensor, up: Tensor | None, form: int, gate_first: bool) -> Outputs:
    return gate.new_empty(gate.shape), gate.new_empty(0) if up is None else up.new_empty(up.shape)


def fused_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    gate, up = ctx.saved_tensors
    grad_gate, grad_up = BACKWARD.overload(gradient, gate, up, ctx.form, ctx.gate_first)
    return grad_gate, None if up is None else grad_up, None, None


BACKWARD = Backward(
    name="geglu_backward",
    arguments="Tensor grad_y, Tensor gate, Tensor? up, int form, bool gate_first",
    returns=("grad_gate", "grad_up"),
    fake=fake_backward,
    call=fused_backward,
)


def vmap(
    variant: Any,
    batch_size: int,
    in_dims: tuple[Any, ...],
    gate: Tensor,
    up: Tensor | None,
    form: int,
    gate_first: bool,
) -> Outputs:
    gate = batch_first(gate, in_dims[0], batch_size)
    up = None if up is None else batch_first(up, in_dims[1], batch_size)
    outputs: Outputs = variant(gate, up, form, gate_first)
    return outputs


def autocast(device_type: str, gate: Tensor, up: Tensor | None, *others: Any) -> tuple[Any, ...]:
    return (gate, up, *others) if up is None else (*to_widest_dtype(gate, up), *others)


OPERATOR = Operator(
    name="geglu",
    arguments="Tensor gate, Tensor? up, int form, bool gate_first",
    returns=("y",),
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
