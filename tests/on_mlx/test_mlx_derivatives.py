"""Derivatives of the first and second order against float64, and what NaN and hidden rows do to them."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from mlx_cases import PATHS, activation_cases, all_cases, normal, operator, rms_norm_cases, split
from mlx_reference import assert_as_good_as, differences, exact, naive, slope, to_numpy

IDS = list(all_cases())
HALF_PRECISION_CASES = [
    *("rms_norm weight and residual", "rms_norm float32 residual"),
    *("gelu bias tanh", "geglu packed none", "sdpa everything"),
]
SECOND_ORDER_CASES = [
    *rms_norm_cases(mx.float32),
    *activation_cases(mx.float32),
    *("sdpa lse", "sdpa causal with hidden rows", "sdpa bool mask", "sdpa bool mask of rows", "sdpa everything"),
]


class Problem:
    """A case as a function of its floating arrays alone, in the ways that a test needs."""

    def __init__(self, case: str, dtype: mx.Dtype = mx.float32) -> None:
        self.name, self.arguments = all_cases(dtype)[case]
        arrays, self._join_all = split(self.arguments)
        mx.eval(arrays)
        self._arrays = arrays
        self.floating = [x for x in arrays if x.dtype != mx.bool_]
        self.values = [to_numpy(x) for x in self.floating]
        outputs = self.run("kernel", *self.floating)
        self.cotangents = [mx.random.normal(y.shape).astype(y.dtype) for y in outputs]
        mx.eval(self.cotangents)

    def join(self, floating):
        remaining = iter(floating)
        return self._join_all(*(x if x.dtype == mx.bool_ else next(remaining) for x in self._arrays))

    def run(self, path, *floating):
        result = operator(self.name, path)(*self.join(floating))
        return list(result) if isinstance(result, tuple) else [result]

    def run_naively(self, *floating):
        outputs = naive(self.name, *self.join(floating))
        return [y.astype(c.dtype) for y, c in zip(outputs, self.cotangents, strict=True)]

    def exact_loss(self, *floating):
        """Return sum(cotangent * output) over the finite outputs: rows that see no key have the logsumexp -inf."""
        outputs = exact(self.name, *self.join(floating))
        cotangents = map(to_numpy, self.cotangents)
        return sum(np.sum(c * np.where(np.isfinite(y), y, 0)) for c, y in zip(cotangents, outputs, strict=True))


def vjp(problem, function):
    return mx.vjp(function, problem.floating, problem.cotangents)[1]


@pytest.mark.metal
@pytest.mark.parametrize(
    ("case", "dtype"),
    [(case, mx.float32) for case in IDS]
    + [(case, dtype) for case in HALF_PRECISION_CASES for dtype in (mx.float16, mx.bfloat16)],
    ids=str,
)
def test_vjp(case, dtype):
    problem = Problem(case, dtype)
    expected = differences(problem.exact_loss, problem.values)
    ordinary = vjp(problem, problem.run_naively)
    for path in PATHS:
        gradients = vjp(problem, lambda *arrays, path=path: problem.run(path, *arrays))
        for gradient, array in zip(gradients, problem.floating, strict=True):
            assert gradient.dtype == array.dtype
        assert_as_good_as(gradients, ordinary, expected)


def exact_slopes(problem, directions):
    """Return the derivatives of all outputs along the directions; a logsumexp of -inf has the derivative 0."""

    def output(index):
        return lambda *arrays: np.where(np.isinf(y := exact(problem.name, *problem.join(arrays))[index]), 0, y)

    return [slope(output(index), problem.values, directions) for index in range(len(problem.cotangents))]


@pytest.mark.metal
@pytest.mark.parametrize("case", IDS)
def test_jvp(case):
    problem = Problem(case)
    tangents = [mx.random.normal(x.shape).astype(x.dtype) for x in problem.floating]
    expected = exact_slopes(problem, [to_numpy(t) for t in tangents])
    ordinary = mx.jvp(problem.run_naively, problem.floating, tangents)[1]
    for path in PATHS:
        results = mx.jvp(lambda *arrays, path=path: problem.run(path, *arrays), problem.floating, tangents)[1]
        assert_as_good_as(results, ordinary, expected)


@pytest.mark.parametrize("case", ["rms_norm weight and residual", "gelu bias none", "geglu none", "sdpa everything"])
def test_jvp_in_one_argument_at_a_time(case):
    """MLX passes tangents for a part of the arguments only."""
    problem = Problem(case)
    for i, array in enumerate(problem.floating):
        tangent = mx.random.normal(array.shape)

        def of_one(x, run, i=i):
            return run(*problem.floating[:i], x, *problem.floating[i + 1 :])

        directions = [np.zeros(x.shape) for x in problem.values]
        directions[i] = to_numpy(tangent)
        expected = exact_slopes(problem, directions)
        ordinary = mx.jvp(lambda x, f=of_one: f(x, problem.run_naively), [array], [tangent])[1]
        results = mx.jvp(lambda x, f=of_one: f(x, lambda *a: problem.run("kernel", *a)), [array], [tangent])[1]
        assert_as_good_as(results, ordinary, expected)


@pytest.mark.parametrize("case", SECOND_ORDER_CASES)
def test_second_order(case):
    problem = Problem(case)
    directions = [mx.random.normal(x.shape) for x in problem.floating]

    def gradient_along_directions(function):
        def of(*arrays):
            gradients = mx.vjp(function, arrays, problem.cotangents)[1]
            return sum((d * g).sum() for d, g in zip(directions, gradients, strict=True))

        return mx.vjp(of, problem.floating, [mx.array(1.0)])[1]

    steps = [np.where(np.isinf(x), 0, to_numpy(d)) for x, d in zip(problem.values, directions, strict=True)]
    expected = differences(lambda *arrays: slope(problem.exact_loss, arrays, steps), problem.values)
    ordinary = gradient_along_directions(problem.run_naively)
    for path in PATHS:
        results = gradient_along_directions(lambda *arrays, path=path: problem.run(path, *arrays))
        assert_as_good_as(results, ordinary, expected)


def attention(path, mask=None, causal=0, sinks=None, softcap=None):
    """Return (q, k, v) -> (out, logsumexp)."""
    return lambda q, k, v: operator("sdpa", path)(q, k, v, mask, sinks, causal, None, None, None, softcap, False, True)


def gradients(function, arrays, cotangents):
    return mx.vjp(lambda *x: list(function(*x)), arrays, cotangents)[1]


def second_gradients(function, arrays, cotangents, directions):
    def of(*x):
        return sum((d * g).sum() for d, g in zip(directions, gradients(function, x, cotangents), strict=True))

    return mx.vjp(of, arrays, [mx.array(1.0)])[1]


def replace(array, index, value):
    changed = mx.array(array)
    changed[index] = value
    return changed


@pytest.mark.metal
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("additive", [False, True])
@pytest.mark.parametrize("garbage", [mx.nan, mx.inf, -mx.inf, 3e38])
def test_hidden_keys_have_no_influence(path, softcap, additive, garbage):
    q, k, v = normal(2, 4, 5, 8), normal(2, 2, 7, 8), normal(2, 2, 7, 6)
    cotangents = [normal(2, 4, 5, 6), normal(2, 4, 5)]
    directions = [mx.random.normal(x.shape) for x in (q, k, v)]
    mask = mx.arange(7) < 5
    function = attention(path, mx.where(mask, 0.5, -mx.inf) if additive else mask, softcap=softcap)
    clean = [q, k, v]
    dirty = [q, replace(k, (..., slice(5, 7), slice(None)), garbage), replace(v, (0, slice(None), 6), garbage)]
    for result, expected in zip(function(*dirty), function(*clean), strict=True):
        assert mx.array_equal(result, expected)
    for derivative in (
        lambda arrays: gradients(function, arrays, cotangents),
        lambda arrays: second_gradients(function, arrays, cotangents, directions),
    ):
        for result, expected in zip(derivative(dirty), derivative(clean), strict=True):
            assert mx.allclose(result, expected, rtol=1e-6, atol=1e-6)
        assert mx.all(derivative(dirty)[1][..., 5:, :] == 0)
        assert mx.all(derivative(dirty)[2][..., 5:, :] == 0)


@pytest.mark.metal
@pytest.mark.parametrize("path", PATHS)
def test_nan_reaches_what_it_is_visible_to_and_nothing_else(path):
    """Row 1 of six sees the keys 0 and 1; the gradients of these become NaN, those of the others do not change."""
    q, k, v = normal(1, 2, 6, 8), normal(1, 1, 6, 8), normal(1, 1, 6, 8)
    cotangents = [normal(1, 2, 6, 8), normal(1, 2, 6)]
    function = attention(path, causal=1)
    clean = [q, k, v]
    dirty = [replace(q, (0, 0, 1, 3), mx.nan), k, v]
    out, lse = function(*dirty)
    poisoned = mx.zeros((1, 2, 6), mx.bool_)
    poisoned[0, 0, 1] = True
    assert mx.array_equal(mx.isnan(lse), poisoned)
    assert mx.array_equal(mx.isnan(out), mx.broadcast_to(poisoned[..., None], out.shape))
    expected = gradients(function, clean, cotangents)
    dq, dk, dv = gradients(function, dirty, cotangents)
    assert mx.array_equal(mx.isnan(dq), mx.broadcast_to(poisoned[..., None], dq.shape))
    for gradient, other in ((dk, expected[1]), (dv, expected[2])):
        assert mx.all(mx.isnan(gradient[:, :, :2]))
        assert mx.allclose(gradient[:, :, 2:], other[:, :, 2:], rtol=1e-6, atol=1e-6)


@pytest.mark.metal
@pytest.mark.parametrize("path", PATHS)
def test_nan_and_infinite_keys_and_values_propagate(path):
    q, k, v = normal(1, 2, 6, 8), normal(1, 1, 6, 8), normal(1, 1, 6, 8)
    for value in (mx.nan, mx.inf, -mx.inf):
        for causal in (0, 1):
            sees = mx.arange(6) >= (4 if causal else 0)
            out, lse = attention(path, causal=causal)(q, k, replace(v, (0, 0, 4, 2), value))
            expected = mx.where(sees, value, 0)
            special = mx.where(mx.isfinite(out), 0, out)
            assert mx.array_equal(special[..., 2], mx.broadcast_to(expected, (1, 2, 6)), equal_nan=True)
            assert mx.all(special[..., :2] == 0)
            assert mx.all(mx.isfinite(lse))
            out, lse = attention(path, causal=causal)(q, replace(k, (0, 0, 4), mx.nan), v)
            assert mx.array_equal(mx.isnan(lse), mx.broadcast_to(sees, (1, 2, 6)))
            assert mx.array_equal(mx.isnan(out), mx.broadcast_to(sees[:, None], (1, 2, 6, 8)))


@pytest.mark.metal
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("cotangent", [1.0, mx.nan, mx.inf])
def test_a_row_that_sees_nothing_has_no_gradients(path, cotangent):
    """Pain 6, with whatever garbage the row and its cotangents hold."""
    q, k, v, sinks = normal(2, 4, 5, 8), normal(2, 2, 7, 8), normal(2, 2, 7, 8), normal(4)
    bias = mx.where(mx.arange(5)[:, None] == 2, -mx.inf, normal(5, 7))
    cotangents = [normal(2, 4, 5, 8), normal(2, 4, 5)]

    def function(q, k, v, bias, sinks):
        return list(operator("sdpa", path)(q, k, v, bias, sinks, 0, None, None, None, None, False, True))

    row = (slice(None), slice(None), 2)
    clean = mx.vjp(function, [q, k, v, bias, sinks], [replace(c, row, 0) for c in cotangents])[1]
    arrays = [replace(q, row, mx.nan), k, v, bias, sinks]
    out, lse = function(*arrays)
    assert mx.all(out[row] == 0)
    assert mx.all(lse[row] == -mx.inf)
    dirty = mx.vjp(function, arrays, [replace(c, row, cotangent) for c in cotangents])[1]
    assert mx.all(dirty[0][row] == 0)
    assert mx.all(dirty[3][2] == 0)
    for result, expected in zip(dirty, clean, strict=True):
        assert mx.allclose(result, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.metal
def test_large_sinks_of_rows_that_see_nothing():
    """exp(sink) overflows; nothing of it may reach the gradients."""
    q, k, v, sinks = normal(1, 2, 3, 4), normal(1, 2, 3, 4), normal(1, 2, 3, 4), mx.array([200.0, -200.0])
    mask = mx.array([True, False, True])[:, None]

    def loss(q, k, v, sinks):
        out, lse = operator("sdpa")(q, k, v, mask, sinks, 0, None, None, None, None, False, True)
        return out.sum() + mx.where(mx.isinf(lse), 0, lse).sum()

    results = mx.grad(loss, argnums=[0, 1, 2, 3])(q, k, v, sinks)
    assert all(mx.all(mx.isfinite(result)) for result in results)
    assert mx.allclose(results[3], mx.array([2.0, 0.0]))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("scale", [2.0**exponent for exponent in (33, 50, 66, 100, -43, -80, -110)])
def test_rms_norm_of_any_magnitude(path, scale):
    """Squares of x, or powers of its RMS, overflow or underflow. Without eps rms_norm(c x) is rms_norm(x)."""
    arrays, directions = [normal(5, 70), normal(70)], [normal(5, 70), normal(70)]
    cotangents = [normal(5, 70)]

    def function(x, weight, scale):
        return [operator("rms_norm", path)(x * scale, weight, None, 0.0, 0.5)]

    def derivatives(scale):
        scaled = lambda x, weight: function(x, weight, scale)  # noqa: E731
        return [
            *mx.vjp(scaled, arrays, cotangents)[1],
            *mx.jvp(scaled, arrays, directions)[1],
            *second_gradients(scaled, arrays, cotangents, directions),
        ]

    for result, expected in zip(derivatives(scale), derivatives(1.0), strict=True):
        assert mx.allclose(result, expected, rtol=1e-4, atol=1e-4)
