"""The kernels of gradients on CPU tensors: of sizes that fill vectors, chunks and threads, of any strides."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch_problems import Problem, is_floating, normal

import fusedops
from fusedops.backends.torch.operators import add_rms_norm, geglu, gelu, rms_norm
from fusedops.verification.problems import TINY

SHAPES = [(1, 2), (3, 7), (70, 33), (2, 5, 130), (1200, 40), (2, 40000)]
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def problems(shape: tuple[int, ...]) -> list[Problem]:
    """Return problems of every operator with such a kernel, in float64."""
    x, other, row = normal(*shape), normal(*shape, seed=1), normal(shape[-1])
    found = [
        Problem("weight", rms_norm.OPERATOR, (x, row, 1e-6, 1.0)),
        Problem("no weight", rms_norm.OPERATOR, (x, None, 1e-3, 0.5)),
        Problem("weight", add_rms_norm.OPERATOR, (x, other, row, 1e-6, 0.0)),
    ]
    for code, form in enumerate(gelu.FORMS):
        found += [
            Problem(form, gelu.OPERATOR, (3 * x, None, code)),
            Problem(f"{form} bias", gelu.OPERATOR, (x, row, code)),
            Problem(form, geglu.OPERATOR, (x, other, code, True)),
            Problem(f"{form} packed", geglu.OPERATOR, (torch.cat([x, other], -1), None, code, True)),
            Problem(f"{form} packed, up first", geglu.OPERATOR, (torch.cat([x, other], -1), None, code, False)),
        ]
    return found


CASES = [(problem, torch.float32, False) for shape in SHAPES for problem in problems(shape)]
CASES += [(problem, dtype, True) for shape in SHAPES[:3] for problem in problems(shape) for dtype in DTYPES]


def gradients(function: Any, problem: Problem, expanded: bool = False) -> tuple[Tensor, ...]:
    problem = problem.requiring_grad()
    outputs = function(*problem.arguments)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    # The gradient of a sum over rows is an array of stride 0.
    shapes = [output.shape[-1:] if expanded else output.shape for output in outputs]
    cotangents = [normal(*shape, seed=7).to(y.dtype).expand(y.shape) for shape, y in zip(shapes, outputs, strict=True)]
    return torch.autograd.grad(outputs, problem.tensors(), cotangents)


def label(value: Any) -> str:
    return f"{value} {tuple(value.arguments[0].shape)}" if isinstance(value, Problem) else str(value)


@pytest.mark.parametrize(("problem", "dtype", "expanded"), CASES, ids=label)
def test_kernels(problem: Problem, dtype: torch.dtype, expanded: bool) -> None:
    """They err at most twice as much as autograd through the composite at the same precision."""
    operator, problem = problem.operator, problem.to(dtype)
    assert operator.fused_backward.runs_on("cpu")
    actual = gradients(operator.overload, problem, expanded)
    naive = gradients(operator.composite, problem, expanded)
    exact = gradients(operator.composite, problem.to(torch.float64), expanded)
    for ours, plain, true in zip(actual, naive, exact, strict=True):
        assert ours.dtype == dtype
        assert ours.shape == true.shape
        error, allowed = (ours - true).abs().max(), 2 * (plain - true).abs().max()
        assert error <= allowed + TINY[str(dtype).removeprefix("torch.")] * true.abs().max()


@pytest.mark.parametrize("problem", problems((70, 33)), ids=str)
def test_strides(problem: Problem) -> None:
    problem = problem.to(torch.float32)
    strided = [a.requires_grad_() if is_floating(a) else a for a in problem.non_contiguous().arguments]
    expected = gradients(problem.operator.overload, problem)
    outputs = problem.operator.overload(*strided)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    cotangents = [normal(*y.shape, seed=7).to(y.dtype).mT.contiguous().mT for y in outputs if y.dim() > 1]
    leaves = [a for a in strided if is_floating(a)]
    actual = torch.autograd.grad(outputs[: len(cotangents)], leaves, cotangents, materialize_grads=True)
    if len(cotangents) == len(outputs):  # rms_norm's third output has one dimension less
        for ours, theirs in zip(actual, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    for gradient in actual:
        assert gradient.isfinite().all()


@pytest.mark.parametrize("problem", problems((1200, 40)), ids=str)
def test_any_number_of_threads_gives_the_same(problem: Problem) -> None:
    problem, threads = problem.to(torch.float32), torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(gradients(problem.operator.overload, problem))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        for ours, first in zip(result, results[0], strict=True):
            torch.testing.assert_close(ours, first, rtol=0, atol=0)


@pytest.mark.parametrize("form", range(3))
def test_gelu_at_its_limits(form: int) -> None:
    x = torch.tensor([-torch.inf, -1e30, -200.0, 200.0, 1e30, torch.inf, torch.nan], requires_grad=True)
    (gradient,) = torch.autograd.grad(torch.ops.fusedops.gelu(x, None, form), x, torch.ones_like(x))
    torch.testing.assert_close(gradient, torch.tensor([0, 0, 0, 1, 1, 1, torch.nan]), equal_nan=True, rtol=0, atol=0)


def test_bad_input() -> None:
    x = torch.ones(2, 3)
    with pytest.raises(Exception, match="grad_y must have shape \\(2, 3\\)"):
        torch.ops.fusedops.gelu_backward(torch.ones(3, 2), x, None, 0)
    with pytest.raises(Exception, match="grad_sum must have x's dtype"):
        torch.ops.fusedops.rms_norm_backward(x, x.half(), torch.ones(2), x, None, 1e-6, 0.0)
    with pytest.raises(Exception, match="grad_reciprocal_rms must have shape \\(2,\\)"):
        torch.ops.fusedops.rms_norm_backward(x, None, torch.ones(3), x, None, 1e-6, 0.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(3, 7), (70, 33), (1200, 40)], ids=str)
def test_float32_residual(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """The sum and its gradient are float32, x's gradient is that rounded; by the kernel and by the formula."""
    x, residual, weight = normal(*shape).to(dtype), normal(*shape, seed=1).float(), normal(shape[-1]).float()

    def derivatives(function: Any, cast: torch.dtype | None = None) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        leaves = [a.to(cast or a.dtype).detach().requires_grad_() for a in (x, residual, weight)]
        outputs = list(function(*leaves, 1e-6, 1.0))
        cotangents = [normal(*y.shape, seed=7).to(dtype if i == 0 else y.dtype) for i, y in enumerate(outputs)]
        cotangents = [c.to(y.dtype) for c, y in zip(cotangents, outputs, strict=True)]
        return outputs, torch.autograd.grad(outputs, leaves, cotangents)

    outputs, actual = derivatives(add_rms_norm.OPERATOR.overload)
    _, naive = derivatives(add_rms_norm.OPERATOR.composite)
    _, exact = derivatives(add_rms_norm.OPERATOR.composite, torch.float64)
    assert [y.dtype for y in outputs] == [dtype, torch.float32, torch.float32]
    torch.testing.assert_close(outputs[1], x.float() + residual, rtol=0, atol=0)
    for ours, plain, true, like in zip(actual, naive, exact, (x, residual, weight), strict=True):
        assert ours.dtype == like.dtype
        error, allowed = (ours - true).abs().max(), 2 * (plain - true).abs().max()
        assert error <= allowed + TINY[str(like.dtype).removeprefix("torch.")] * true.abs().max()
    torch.testing.assert_close(actual[0], actual[1].to(dtype), rtol=0, atol=0)


def scaled_gradients(function: Any, scale: float, grad_scale: float, second: bool) -> list[Tensor]:
    """Return rms_norm's gradients without eps, as they are of x / scale; or those of a sum that they make up."""
    x = (normal(5, 70).float() * scale).requires_grad_()
    weight = normal(70, seed=1).float().requires_grad_()
    y, reciprocal_rms = function(x, weight, 0.0, 0.5)
    cotangents = [normal(5, 70, seed=2).float() * grad_scale, normal(5, seed=3).float() * scale * grad_scale]
    grad_x, grad_weight = torch.autograd.grad((y, reciprocal_rms), (x, weight), cotangents, create_graph=second)
    if not second:
        return [grad_x * scale / grad_scale, grad_weight / grad_scale]
    both = (grad_x * normal(5, 70, seed=4).float()).sum() * scale + (grad_weight * normal(70, seed=5).float()).sum()
    grad_x, grad_weight = torch.autograd.grad(both, (x, weight))
    return [grad_x * scale / grad_scale, grad_weight / grad_scale]


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("scale", [2.0**exponent for exponent in (33, 50, 66, 100, -43, -80, -110)], ids=str)
@pytest.mark.parametrize("path", ["overload", "composite"])
def test_rms_norm_of_any_magnitude(path: str, scale: float, second: bool) -> None:
    """Squares of x overflow or underflow, or powers of its RMS do. rms_norm(c x) is rms_norm(x)."""
    function = getattr(rms_norm.OPERATOR, path)
    expected = scaled_gradients(function, 1.0, 1.0, second)
    for ours, plain in zip(scaled_gradients(function, scale, 1.0, second), expected, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("magnitude", [1e10, 1e15, 1e18, 1e30])
@pytest.mark.parametrize("transform", [torch.func.jvp, torch.func.functionalize], ids=lambda f: f.__name__)
def test_rms_norm_of_any_magnitude_under_transforms(transform: Any, magnitude: float) -> None:
    x, direction = magnitude * normal(3, 64), normal(3, 64)

    def derivative(function: Any, x: Tensor) -> Tensor:
        if transform is torch.func.jvp:
            return torch.func.jvp(function, (x,), (magnitude * direction.to(x),))[1]
        gradient = torch.func.grad(lambda x: (function(x) * direction.to(x)).sum())
        return magnitude * torch.func.functionalize(gradient)(x)

    expected = derivative(lambda x: torch.nn.functional.rms_norm(x, (64,), eps=1e-6), x)
    ours = derivative(fusedops.rms_norm, x.float())
    torch.testing.assert_close(ours, expected.float(), rtol=1e-4, atol=1e-4)


def test_products_with_large_gradients() -> None:
    """The sum of grad_y x overflows where neither the squares nor the gradients do."""
    expected = scaled_gradients(rms_norm.OPERATOR.overload, 1.0, 1.0, False)
    for ours, plain in zip(
        scaled_gradients(rms_norm.OPERATOR.overload, 2.0**40, 2.0**86, False), expected, strict=True
    ):
        torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-4)


def test_gradient_of_a_bias_without_rows() -> None:
    bias = torch.ones(33, requires_grad=True)
    (gradient,) = torch.autograd.grad(torch.ops.fusedops.gelu(torch.ones(0, 33), bias, 0).sum(), bias)
    assert (gradient == 0).all()
