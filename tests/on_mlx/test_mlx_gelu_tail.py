"""GELU's negative tail in MLX's composites: tiny values and derivatives are relatively accurate."""

from __future__ import annotations

import math

import mlx.core as mx
import numpy as np
import pytest
from mlx_cases import PATHS, operator

from fusedops.verification import reference
from fusedops.verification.problems import TAILS

on_every_form = pytest.mark.parametrize("form", list(TAILS))


def exact(x, form):
    """Return GELU and its first two derivatives in float64."""
    gate = reference.gelu(x, form) / x
    if form == "none":
        density = np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)
        return x * gate, gate + x * density, density * (2 - x**2)
    slope, curvature = 1.702, 0.0
    if form == "tanh":
        factor = 2 * math.sqrt(2 / math.pi)
        slope, curvature = factor * (1 + 3 * 0.044715 * x**2), factor * 6 * 0.044715 * x
    first = gate * (1 - gate) * slope
    second = first * (1 - 2 * gate) * slope + gate * (1 - gate) * curvature
    return x * gate, gate + x * first, 2 * first + x * second


def assert_close(result, expected, x, form):
    """Allow two dozen units of float32, and what MLX's exponential, on CPUs, and rounding take from its argument."""
    rounding = x * x / 2 if form == "none" else 2 * np.abs(reference.sigmoid_argument(x, form))
    error = np.abs(np.array(result).astype(np.float64) / expected - 1)
    assert (error <= (24 + rounding) * 2.0**-23).all(), f"relative error {error.max():.3g}"


def tail(form):
    values = np.random.default_rng(0).uniform(*TAILS[form], size=500).astype(np.float32)
    return mx.array(values), values.astype(np.float64)


@pytest.mark.metal
@on_every_form
@pytest.mark.parametrize("path", PATHS)
def test_derivatives(form, path):
    def function(x):
        return operator("gelu", path)(x, None, form)

    x, wide = tail(form)
    value, derivative, second = exact(wide, form)
    (primal,), (tangent,) = mx.jvp(function, [x], [mx.ones_like(x)])
    assert_close(primal, value, wide, form)
    assert_close(tangent, derivative, wide, form)

    def slope(x):
        return mx.vjp(function, [x], [mx.ones_like(x)])[1][0]

    assert_close(slope(x), derivative, wide, form)
    assert_close(mx.vjp(slope, [x], [mx.ones_like(x)])[1][0], second, wide, form)
    assert_close(mx.compile(slope)(x), derivative, wide, form)


@on_every_form
def test_mapped_bias(form):
    x, _ = tail(form)
    x = mx.round(x * 4) / 4
    bias = mx.broadcast_to(mx.array([[-0.25], [0.0], [0.25]]), (3, x.size))
    out = mx.vmap(lambda bias: operator("gelu")(x, bias, form))(bias)
    wide = np.array(x).astype(np.float64)[None] + np.array(bias)
    assert_close(out, exact(wide, form)[0], wide, form)


@on_every_form
@pytest.mark.parametrize("path", PATHS)
def test_ends(form, path):
    x = mx.array([-math.inf, -1e4, 0.0, 1e4, math.inf])

    def slope(x):
        return mx.vjp(lambda x: operator("gelu", path)(x, None, form), [x], [mx.ones_like(x)])[1][0]

    curvature = {"none": math.sqrt(2 / math.pi), "tanh": math.sqrt(2 / math.pi), "sigmoid": 1.702 / 2}[form]
    np.testing.assert_allclose(operator("gelu", path)(x, None, form), [0.0, 0.0, 0.0, 1e4, math.inf], atol=1e-33)
    np.testing.assert_allclose(slope(x), [0.0, 0.0, 0.5, 1.0, 1.0], atol=1e-7)
    np.testing.assert_allclose(mx.vjp(slope, [x], [mx.ones_like(x)])[1][0], [0.0, 0.0, curvature, 0.0, 0.0], atol=1e-6)
    assert np.isnan(np.array(operator("gelu", path)(mx.array([math.nan]), None, form)))
