"""The kernels of gradients on CPU tensors: of sizes that fill vectors, chunks and threads, of any strides."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch_problems import Problem, is_floating, normal

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
    with pytest.raises(Exception, match="grad_sum must have y's dtype"):
        torch.ops.fusedops.rms_norm_backward(x, x.half(), torch.ones(2), x, None, 1e-6, 0.0)
    with pytest.raises(Exception, match="grad_reciprocal_rms must have shape \\(2,\\)"):
        torch.ops.fusedops.rms_norm_backward(x, None, torch.ones(3), x, None, 1e-6, 0.0)
