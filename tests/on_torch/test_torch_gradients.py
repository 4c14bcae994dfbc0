"""Gradients: the formulas in float64 against numerical derivatives, and what the operators make of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_problems
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch_problems import Problem, is_floating

pytestmark = pytest.mark.filterwarnings("ignore:Input #.* requires gradient and is not a double precision")
PROBLEMS = torch_problems.all_problems()
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def pick(outputs: Any) -> tuple[Tensor, ...]:
    """Return the outputs as a tuple, with the logsumexp's -inf made 0: there is no difference of infinities."""
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return tuple(torch.where(output.isneginf(), 0, output) for output in outputs)


def through_formulas(problem: Problem) -> Callable[..., tuple[Tensor, ...]]:
    """Return the composite as a function whose gradient is the operator's backward formula."""
    operator = problem.operator

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(*arguments: Any) -> Any:
            outputs = operator.composite(*arguments)
            return outputs[0] if len(outputs) == 1 else outputs

        setup_context = staticmethod(operator.setup_context)
        backward = staticmethod(operator.backward)

    return lambda *arguments: pick(Function.apply(*arguments))


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_formulas(problem: Problem) -> None:
    function, arguments = through_formulas(problem), problem.requiring_grad().arguments
    assert gradcheck(function, arguments, check_batched_grad=True)
    assert gradgradcheck(function, arguments, fast_mode=True)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_composite(problem: Problem) -> None:
    """Forward-mode AD differentiates the composite itself; what it gives can be differentiated backward too."""

    def function(*arguments: Any) -> tuple[Tensor, ...]:
        return pick(problem.operator.composite(*arguments))

    arguments = problem.requiring_grad().arguments
    assert gradcheck(function, arguments, check_forward_ad=True, fast_mode=True)
    assert gradgradcheck(function, arguments, check_fwd_over_rev=True, fast_mode=True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_operator(problem: Problem, dtype: torch.dtype) -> None:
    """The operator's gradients err at most twice as much as autograd through the composite at the same precision."""
    operator = problem.operator
    actual = gradients(getattr(torch.ops.fusedops, operator.name), problem.to(dtype))
    naive = gradients(operator.composite, problem.to(dtype))
    exact = gradients(operator.composite, problem.to(dtype).to(torch.float64))
    for ours, plain, true in zip(actual, naive, exact, strict=True):
        error, allowed = (ours - true).abs().max(), 2 * (plain - true).abs().max()
        assert error <= allowed + torch.finfo(dtype).eps * true.abs().max()


def gradients(function: Callable[..., Any], problem: Problem) -> tuple[Tensor, ...]:
    problem = problem.requiring_grad()
    outputs = pick(function(*problem.arguments))
    cotangents = [torch_problems.normal(*output.shape, seed=7).to(output.dtype) for output in outputs]
    return torch.autograd.grad(outputs, problem.tensors(), cotangents)


@pytest.mark.parametrize("problem", PROBLEMS[::3], ids=str)
def test_operator_against_numerical_derivatives(problem: Problem) -> None:
    def function(*arguments: Any) -> tuple[Tensor, ...]:
        return pick(getattr(torch.ops.fusedops, problem.operator.name)(*arguments))

    arguments = problem.to(torch.float32).requiring_grad().arguments
    assert gradcheck(function, arguments, eps=1e-2, atol=2e-2, rtol=2e-2, fast_mode=True)
    assert gradgradcheck(function, arguments, eps=1e-2, atol=2e-2, rtol=2e-2, fast_mode=True)


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_each_gradient_alone(problem: Problem) -> None:
    """A gradient does not depend on which others are asked for."""
    problem = problem.to(torch.float32)
    function = getattr(torch.ops.fusedops, problem.operator.name)
    together = iter(gradients(function, problem))
    for position, argument in enumerate(problem.arguments):
        if is_floating(argument):
            alone = argument.clone().requires_grad_()
            arguments = (*problem.arguments[:position], alone, *problem.arguments[position + 1 :])
            outputs = pick(function(*arguments))
            cotangents = [torch_problems.normal(*output.shape, seed=7).to(output.dtype) for output in outputs]
            used = [i for i, output in enumerate(outputs) if output.requires_grad]
            (gradient,) = torch.autograd.grad([outputs[i] for i in used], alone, [cotangents[i] for i in used])
            torch.testing.assert_close(gradient, next(together), rtol=0, atol=0)


def test_hidden_keys_do_not_reach_gradients() -> None:
    """NaN in a key and value that no row sees changes no gradient, and the key's own gradients are zero."""
    problem = torch_problems.sdpa_problem("", causal=2, lengths=(3, 5)).to(torch.float32)
    clean = gradients(torch.ops.fusedops.sdpa, problem)
    _, k, v, *_ = problem.arguments
    k[..., 3:, :] = torch.nan
    v[..., 3:, :] = torch.inf
    dirty = gradients(torch.ops.fusedops.sdpa, problem)
    for before, after in zip(clean, dirty, strict=True):
        torch.testing.assert_close(after, before, rtol=0, atol=0)
    for gradient in dirty[1:]:
        assert (gradient[..., 3:, :] == 0).all()


@pytest.mark.parametrize("position", [0, 1, 2], ids=["q", "k", "v"])
def test_visible_nan_reaches_gradients(position: int) -> None:
    problem = torch_problems.sdpa_problem("", causal=1, lengths=(4, 4)).to(torch.float32)
    problem.arguments[position][0, 0, 2, 0] = torch.nan
    grad_q, grad_k, grad_v = gradients(torch.ops.fusedops.sdpa, problem)
    if position < 2:
        assert grad_v[0, 0, 2].isnan().all()
    assert grad_q[0, 0, 2].isnan().all()
    assert grad_k[0, 0, 2].isnan().all()
    assert not grad_q[1].isnan().any() and not grad_k[1].isnan().any() and not grad_v[1].isnan().any()
    if position:
        assert not grad_q[0, 0, :2].isnan().any(), "queries before the key do not see it"


def test_cotangent_that_is_not_finite_reaches_only_visible_values() -> None:
    problem = torch_problems.sdpa_problem("", heads=(1, 1), causal=1, lengths=(4, 4)).to(torch.float32).requiring_grad()
    out, _ = torch.ops.fusedops.sdpa(*problem.arguments)
    cotangent = torch.ones_like(out)
    cotangent[0, 0, 1, 0] = torch.inf
    (grad_v,) = torch.autograd.grad(out, problem.arguments[2], cotangent)
    assert grad_v[0, 0, :2].isnan().any(-1).all()
    assert grad_v[0, 0, 2:].isfinite().all() and grad_v[1].isfinite().all()


@pytest.mark.parametrize("form", range(3))
def test_activation_gradients_at_the_ends(form: int) -> None:
    x = torch.tensor([-torch.inf, -1e4, 1e4, torch.inf], requires_grad=True)
    y = torch.ops.fusedops.gelu(x, None, form)
    (gradient,) = torch.autograd.grad(y, x, torch.ones(4))
    torch.testing.assert_close(y, torch.tensor([0.0, 0.0, 1e4, torch.inf]))
    torch.testing.assert_close(gradient, torch.tensor([0.0, 0.0, 1.0, 1.0]))


def test_empty() -> None:
    for shape in ((0, 5), (3, 0)):
        x, weight = torch.ones(shape, requires_grad=True), torch.ones(shape[1], requires_grad=True)
        grad_x, grad_weight = torch.autograd.grad(
            torch.ops.fusedops.rms_norm(x, weight, 1e-6, 0.0)[0].sum(), (x, weight)
        )
        assert grad_x.shape == shape and (grad_weight == 0).all()
    q = torch.randn(1, 2, 3, 4, requires_grad=True)
    k = torch.randn(1, 2, 0, 4, requires_grad=True)
    out, logsumexp = torch.ops.fusedops.sdpa(q, k, k, None, None, 0, None, None, None, None, False)
    assert (out == 0).all() and logsumexp.isneginf().all()
    grad_q, grad_k = torch.autograd.grad(out.sum() + pick(logsumexp)[0].sum(), (q, k))
    assert (grad_q == 0).all() and grad_k.shape == k.shape
