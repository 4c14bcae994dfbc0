"""torch.func and forward-mode AD: transformed operators equal transformed composites, which torch itself transforms."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_problems
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacrev, jvp, vjp, vmap
from torch_problems import Problem, normal

import fusedops
from fusedops.backends import torch as backend

PROBLEMS = [problem.to(torch.float32) for problem in torch_problems.all_problems()]
SOME = PROBLEMS[::4]
ATTENTION = ("sdpa", "sdpa_varlen")  # their logsumexp may be minus infinity


def call(problem: Problem, *arguments: Any) -> Any:
    """Call the backend's function, which is what chooses the variant."""
    name = problem.operator.name
    if name == "rms_norm":
        x, weight, *options = arguments
        return backend.rms_norm(x, weight, None, *options)
    if name == "add_rms_norm":
        x, residual, weight, *options = arguments
        return backend.rms_norm(x, weight, residual, *options)
    if name in ATTENTION:
        outputs = getattr(backend, name)(*arguments, True)
        return tuple(torch.where(output.isneginf(), 0, output) for output in outputs)
    first, second, form, *options = arguments
    return getattr(backend, name)(first, second, ("none", "tanh", "sigmoid")[form], *options)


def composite(problem: Problem, *arguments: Any) -> Any:
    """Do the same by torch's own operators."""
    outputs = problem.operator.composite(*arguments)
    if problem.operator.name in ATTENTION:
        return tuple(torch.where(output.isneginf(), 0, output) for output in outputs)
    return outputs[0] if problem.operator.inference_returns == 1 else outputs[: problem.operator.inference_returns]


def scalar(function: Callable[..., Any], problem: Problem, tensors: tuple[Tensor, ...]) -> Tensor:
    """Return one number that depends on every output."""
    outputs = function(problem, *merged(problem, tensors))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    total = torch.zeros(())
    for output in outputs:
        total = total + (output.sin() * torch.linspace(0.5, 1.5, output.numel()).reshape(output.shape)).sum()
    return total


def merged(problem: Problem, tensors: tuple[Tensor, ...]) -> tuple[Any, ...]:
    """Return the problem's arguments with these in the place of its floating tensors."""
    replacements = iter(tensors)
    return tuple(next(replacements) if torch_problems.is_floating(a) else a for a in problem.arguments)


def assert_same(function: Callable[[Callable[..., Any]], Any]) -> None:
    """Require the same of `function` with the operator and with the composite."""
    torch.testing.assert_close(function(call), function(composite), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_vmap(problem: Problem) -> None:
    """All mapped at different places, and each mapped alone."""
    tensors = tuple(problem.tensors())
    dims = tuple(min(i, t.dim()) for i, t in enumerate(tensors))
    batched = tuple(torch.stack([t, 0.5 * t, 2 * t], dim) for t, dim in zip(tensors, dims, strict=True))

    def mapped(chosen: tuple[bool, ...]) -> None:
        arguments = tuple(b if c else t for c, b, t in zip(chosen, batched, tensors, strict=True))
        in_dims = tuple(d if c else None for c, d in zip(chosen, dims, strict=True))
        assert_same(lambda function: vmap(lambda *ts: function(problem, *merged(problem, ts)), in_dims)(*arguments))

    mapped((True,) * len(tensors))
    for alone in range(len(tensors)):
        mapped(tuple(i == alone for i in range(len(tensors))))


@pytest.mark.parametrize("chosen", [c for c in itertools.product((False, True), repeat=4) if any(c)], ids=str)
def test_vmap_of_attention_by_all_in_dims(chosen: tuple[bool, ...]) -> None:
    q, k, v = normal(2, 4, 3, 2).float(), normal(2, 2, 5, 2).float(), normal(2, 2, 5, 3).float()
    mask = normal(2, 1, 3, 5) > -0.5
    tensors = zip(chosen, (q, k, v, mask), strict=True)
    arguments = [torch.stack([t, t.roll(1, 2)], dim=1) if mapped else t for mapped, t in tensors]
    in_dims = tuple(1 if c else None for c in chosen)
    result = vmap(lambda q, k, v, mask: fusedops.sdpa(q, k, v, mask=mask, causal=True), in_dims)(*arguments)
    for i in range(2):
        entry = [t.select(1, i) if c else t for c, t in zip(chosen, arguments, strict=True)]
        torch.testing.assert_close(result[i], fusedops.sdpa(*entry[:3], mask=entry[3], causal=True))


def test_vmap_with_shared_keys_and_groups() -> None:
    """Grouped queries in nested vmaps, and over a mask of fewer dimensions (field: a hang elsewhere)."""
    q, k = torch.randn(3, 2, 1, 4, 5, 8), torch.randn(1, 2, 6, 8)
    mask = torch.rand(2, 5, 6) > 0.3
    inner = vmap(lambda q, mask: fusedops.sdpa(q, k, k, mask=mask), in_dims=(0, 0))
    result = vmap(inner, in_dims=(0, None))(q, mask)
    for i, j in itertools.product(range(3), range(2)):
        torch.testing.assert_close(result[i, j], fusedops.sdpa(q[i, j], k, k, mask=mask[j]))


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_grad_and_its_vmap(problem: Problem) -> None:
    tensors = tuple(problem.tensors())
    positions = tuple(range(len(tensors)))

    def gradient(function: Callable[..., Any]) -> Callable[..., Any]:
        return grad(lambda *ts: scalar(function, problem, ts), argnums=positions)

    assert_same(lambda function: gradient(function)(*tensors))
    batched = tuple(torch.stack([t, 0.5 * t]) for t in tensors)
    assert_same(lambda function: vmap(gradient(function))(*batched))
    first_alone = (0, *(None,) * (len(tensors) - 1))
    assert_same(lambda function: vmap(gradient(function), first_alone)(batched[0], *tensors[1:]))


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_grad_of_vmap(problem: Problem) -> None:
    batched = tuple(torch.stack([t, 0.5 * t]) for t in problem.tensors())
    positions = tuple(range(len(batched)))

    def total(function: Callable[..., Any], *tensors: Tensor) -> Tensor:
        return vmap(lambda *ts: scalar(function, problem, ts))(*tensors).sum()

    assert_same(lambda function: grad(functools.partial(total, function), positions)(*batched))


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_jvp(problem: Problem) -> None:
    tensors = tuple(problem.tensors())
    tangents = tuple(normal(*t.shape, seed=5).float() for t in tensors)

    def derivative(function: Callable[..., Any], *tangents: Tensor) -> tuple[Tensor, Tensor]:
        return jvp(lambda *ts: scalar(function, problem, ts), tensors, tangents)

    assert_same(lambda function: derivative(function, *tangents))
    batched = tuple(torch.stack([t, -t]) for t in tangents)
    assert_same(lambda function: vmap(functools.partial(derivative, function))(*batched))


@pytest.mark.parametrize("problem", SOME, ids=str)
def test_second_derivatives(problem: Problem) -> None:
    """Forward over reverse (hessian) and reverse over reverse."""
    x, *rest = problem.tensors()
    assert_same(lambda function: hessian(lambda x: scalar(function, problem, (x, *rest)))(x))
    assert_same(lambda function: jacrev(grad(lambda x: scalar(function, problem, (x, *rest))))(x))


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_dual_tensors(problem: Problem) -> None:
    def tangent(function: Callable[..., Any]) -> Tensor:
        with forward_ad.dual_level():
            duals = tuple(forward_ad.make_dual(t, normal(*t.shape, seed=5).float()) for t in problem.tensors())
            result = forward_ad.unpack_dual(scalar(function, problem, duals)).tangent
        assert result is not None
        return result

    assert_same(tangent)


@pytest.mark.parametrize("problem", SOME, ids=str)
def test_batched_cotangents(problem: Problem) -> None:
    """torch.autograd.grad(is_grads_batched=True), which is not torch.func's vmap."""
    problem = problem.requiring_grad()

    def gradients(function: Callable[..., Any]) -> tuple[Tensor, ...]:
        outputs = function(problem, *problem.arguments)
        output = outputs[0] if isinstance(outputs, tuple) else outputs
        cotangents = normal(3, *output.shape, seed=4).float()
        return torch.autograd.grad(output, problem.tensors(), cotangents, is_grads_batched=True)

    assert_same(gradients)


def test_vjp_and_functional_call() -> None:
    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.rand(8) + 0.5)

        def forward(self, x: Tensor) -> Tensor:
            return fusedops.gelu(fusedops.rms_norm(x, self.weight))

    block, x = Block(), torch.randn(3, 8)
    _, pull = vjp(lambda parameters: functional_call(block, parameters, x), dict(block.named_parameters()))
    (gradients,) = pull(torch.ones(3, 8))
    block(x).sum().backward()
    torch.testing.assert_close(gradients["weight"], block.weight.grad)
