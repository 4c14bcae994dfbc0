"""GELU's negative tail wherever composites compute it: tiny values and derivatives are relatively accurate."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

import fusedops
from fusedops.verification.problems import TAILS

FORMS = list(TAILS)
on_every_form = pytest.mark.parametrize("form", FORMS)


def tail(form: str, count: int = 500) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    first, last = TAILS[form]
    return first + (last - first) * torch.rand(count, generator=generator)


def exact(x: Tensor, form: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return GELU and its first two derivatives in float64."""
    x = x.double()
    if form == "none":
        cdf, density = 0.5 * torch.erfc(-x / math.sqrt(2)), torch.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
        return x * cdf, cdf + x * density, density * (2 - x**2)
    gate = torch.sigmoid(argument(x, form))
    slope, curvature = torch.full_like(x, 1.702), torch.zeros_like(x)
    if form == "tanh":
        factor = 2 * math.sqrt(2 / math.pi)
        slope, curvature = factor * (1 + 3 * 0.044715 * x**2), factor * 6 * 0.044715 * x
    first = gate * (1 - gate) * slope
    second = first * (1 - 2 * gate) * slope + gate * (1 - gate) * curvature
    return x * gate, gate + x * first, 2 * first + x * second


def argument(x: Tensor, form: str) -> Tensor:
    return 1.702 * x if form == "sigmoid" else 2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)


def assert_close(result: Tensor, expected: Tensor, x: Tensor, form: str) -> None:
    """Allow a dozen units of float32, and where the gate is a sigmoid what rounding takes from its argument."""
    rounding = 0.0 if form == "none" else 2 * argument(x.double(), form).abs()
    error = ((result.detach().double() - expected) / expected).abs()
    assert result.dtype == torch.float32
    assert (error <= (12 + rounding) * 2.0**-23).all(), f"relative error {error.max():.3g}"


@on_every_form
def test_forward_mode(form: str) -> None:
    x = tail(form)
    value, derivative, _ = exact(x, form)
    with forward_ad.dual_level():
        out = fusedops.gelu(forward_ad.make_dual(x, torch.ones_like(x)), approximate=form)
        primal, tangent = forward_ad.unpack_dual(out)
    assert_close(primal, value, x, form)
    assert_close(tangent, derivative, x, form)


@on_every_form
def test_forward_over_forward(form: str) -> None:
    x = tail(form)

    def tangent(x: Tensor) -> Tensor:
        return torch.func.jvp(lambda x: fusedops.gelu(x, approximate=form), (x,), (torch.ones_like(x),))[1]

    first, second = torch.func.jvp(tangent, (x,), (torch.ones_like(x),))
    assert_close(first, exact(x, form)[1], x, form)
    assert_close(second, exact(x, form)[2], x, form)


@on_every_form
@pytest.mark.parametrize("packed", [None, True, False], ids=["gelu", "geglu", "geglu, up first"])
def test_second_derivatives(form: str, packed: bool | None) -> None:
    x = tail(form)
    function: Callable[[Tensor], Tensor] = lambda x: fusedops.gelu(x, approximate=form)  # noqa: E731
    if packed is not None:

        def function(x: Tensor) -> Tensor:
            halves = (x, torch.ones_like(x)) if packed else (torch.ones_like(x), x)
            return fusedops.geglu(torch.cat(halves), approximate=form, gate_first=packed)

    _, derivative, second = exact(x, form)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(leaf).sum(), leaf, create_graph=True)
    assert_close(gradient, derivative, x, form)
    (curvature,) = torch.autograd.grad(gradient.sum(), leaf)
    assert_close(curvature, second, x, form)


@on_every_form
def test_mapped_bias(form: str) -> None:
    x = torch.round(tail(form) * 4) / 4
    bias = torch.tensor([[-0.25], [0.0], [0.25]]).expand(3, x.shape[0])
    out = torch.vmap(lambda bias: fusedops.gelu(x, bias=bias, approximate=form))(bias)
    for i in range(3):
        assert_close(out[i], exact(x + bias[i], form)[0], x, form)


@on_every_form
def test_compiled(form: str) -> None:
    """Inductor fuses the composite, with other exponentials, and must not take the rounded square for the exact one."""
    from fusedops.backends.torch.operators import gelu

    code, x = FORMS.index(form), tail(form)
    leaf = x.clone().requires_grad_()
    compiled = torch.compile(lambda x: gelu.activation(x, code), fullgraph=True)
    y = compiled(leaf)
    (gradient,) = torch.autograd.grad(y.sum(), leaf)
    value, derivative, _ = exact(x, form)
    assert_close(y, value, x, form)
    assert_close(gradient, derivative, x, form)


@on_every_form
def test_ends(form: str) -> None:
    """Also of derivatives by the composite: nothing is 0 times infinity."""
    x = torch.tensor([-torch.inf, -1e4, 0.0, 1e4, torch.inf], requires_grad=True)
    (gradient,) = torch.autograd.grad(fusedops.gelu(x, approximate=form).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), x)
    curvature = {"none": math.sqrt(2 / math.pi), "tanh": math.sqrt(2 / math.pi), "sigmoid": 1.702 / 2}[form]
    torch.testing.assert_close(gradient, torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]))
    torch.testing.assert_close(second, torch.tensor([0.0, 0.0, curvature, 0.0, 0.0]))
    with forward_ad.dual_level():
        out = fusedops.gelu(forward_ad.make_dual(x.detach(), torch.ones_like(x)), approximate=form)
        primal, tangent = forward_ad.unpack_dual(out)
    torch.testing.assert_close(primal, torch.tensor([0.0, 0.0, 0.0, 1e4, torch.inf]))
    torch.testing.assert_close(tangent, gradient.detach())
    assert fusedops.gelu(torch.tensor(torch.nan), approximate=form).isnan()
