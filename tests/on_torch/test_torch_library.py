"""What torch.library asks of a custom operator, by its own checker, and that registration happens once."""

from __future__ import annotations

import importlib
import sys
from unittest import mock

import pytest
import torch
import torch_problems
from torch_problems import Problem

import fusedops
from fusedops import _torch
from fusedops.backends.torch.operators import sdpa, sdpa_varlen

PROBLEMS = {str(problem): problem.to(torch.float32) for problem in torch_problems.all_problems()}
CHECKED = (
    "rms_norm weight",
    "rms_norm no weight",
    "add_rms_norm weight",
    "gelu scalar",
    "gelu none bias",
    "geglu tanh",
    "geglu tanh packed",
    "sdpa plain",
    "sdpa bool mask",
    "sdpa all at once",
    "sdpa_varlen causal",
    "sdpa_varlen all at once",
)


@pytest.mark.parametrize("name", CHECKED)
def test_opcheck(name: str) -> None:
    problem = PROBLEMS[name]
    operator = getattr(torch.ops.fusedops, problem.operator.name).default
    torch.library.opcheck(operator, problem.requiring_grad().arguments)
    torch.library.opcheck(operator, problem.non_contiguous().arguments)


@pytest.mark.parametrize("name", CHECKED)
def test_opcheck_inference(name: str) -> None:
    problem = PROBLEMS[name]
    operator = getattr(torch.ops.fusedops, f"{problem.operator.name}_inference").default
    torch.library.opcheck(operator, problem.non_contiguous().arguments)


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=str)
def test_composite_agrees_with_kernel(problem: Problem) -> None:
    """Also in what opcheck's fake kernels promise: shapes, dtypes, strides."""
    operator = problem.operator
    outputs = operator.checked_composite(*problem.arguments)
    kernel_outputs = getattr(torch.ops.fusedops, operator.name)(*problem.arguments)
    kernel_outputs = kernel_outputs if isinstance(kernel_outputs, tuple) else (kernel_outputs,)
    for ours, kernels in zip(outputs, kernel_outputs, strict=True):
        torch.testing.assert_close(ours, kernels)
        assert ours.stride() == kernels.stride() and kernels.is_contiguous()
    inference = getattr(torch.ops.fusedops, f"{operator.name}_inference")(*problem.arguments)
    inference = inference if isinstance(inference, tuple) else (inference,)
    for alone, beside in zip(inference, kernel_outputs, strict=False):
        torch.testing.assert_close(alone, beside, rtol=0, atol=0)


@pytest.mark.parametrize("causal", [0, 1, 2])
def test_composite_propagates_what_is_visible(causal: int) -> None:
    """Infinities and NaN among the values reach exactly the rows and columns that they reach in the kernel."""
    q, k, v, *rest = PROBLEMS["sdpa grouped queries"].arguments
    v = v.clone()
    v[0, 0, 1, 0], v[0, 0, 2, 0], v[0, 1, 3, 1], v[1, 0, 2, 2] = torch.inf, -torch.inf, torch.nan, -torch.inf
    arguments = (q, k, v, None, None, causal, *rest[3:])
    expected, _ = torch.ops.fusedops.sdpa(*arguments)
    assert expected.isnan().any() and expected.isinf().any() and expected.isfinite().any()
    actual, _ = sdpa.OPERATOR.composite(*arguments)
    torch.testing.assert_close(actual, expected, equal_nan=True)


def test_packed_sequences_are_padded_to_similar_lengths() -> None:
    """Of what the composites compute less than three quarters are padding, however lengths are mixed."""
    random = torch.Generator().manual_seed(0)
    lengths = torch.cat([torch.randint(0, 40, (30, 2), generator=random), torch.tensor([[512, 700], [600, 3], [0, 0]])])
    cu_seqlens_q, cu_seqlens_k = (torch.cat([torch.zeros(1), own.cumsum(0)]).int() for own in lengths.T)
    q = torch.randn(int(cu_seqlens_q[-1]), 2, 4, generator=random)
    k = torch.randn(int(cu_seqlens_k[-1]), 1, 4, generator=random)
    options = sdpa_varlen.Options(600, 700, 1, None, 30, None, None, False)
    groups = sdpa_varlen._groups(q, k, cu_seqlens_q, cu_seqlens_k, options)
    scores = sum(len(group.members) * group.longest_query * group.longest_key for group in groups)
    assert scores < 4 * (lengths.clamp(min=1).prod(-1).sum())
    whole = sdpa_varlen._groups(q, k, cu_seqlens_q.to("meta"), cu_seqlens_k.to("meta"), options)
    assert whole == [(None, 600, 700)]

    leaves = [tensor.requires_grad_() for tensor in (q, k, k.detach().cos(), torch.randn(2, generator=random))]
    arguments = (*leaves[:3], cu_seqlens_q, cu_seqlens_k, leaves[3], *options)
    in_groups = sdpa_varlen.composite(*arguments)
    with mock.patch.object(sdpa_varlen, "has_values", lambda _: False):
        together = sdpa_varlen.composite(*arguments)
    kernel = torch.ops.fusedops.sdpa_varlen(*arguments)
    cotangents = [torch.randn(output.shape, generator=random) for output in kernel]
    cotangents[1][kernel[1].isneginf()] = 0
    expected = torch.autograd.grad(together, leaves, cotangents)
    for outputs in (in_groups, kernel):
        torch.testing.assert_close(outputs, together)
        for ours, theirs in zip(torch.autograd.grad(outputs, leaves, cotangents), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_direct_calls_are_set_up_for_what_there_is() -> None:
    with pytest.raises(ValueError, match="there is no kernel gelu_infernce"):
        _torch.direct_function("gelu_infernce", ["Tensor"], 1, [])
    with pytest.raises(ValueError, match="no argument of type Tensor\\[\\]"):
        _torch.direct_function("gelu_inference", ["Tensor[]"], 1, [])
    with pytest.raises(ValueError, match="more arguments or outputs than direct calls have room for"):
        _torch.direct_function("gelu_inference", ["int"] * 12, 1, [])


def test_registered_once() -> None:
    """Neither a reload nor a second import registers anything again, and both leave the operators working."""
    import fusedops.backends.torch as backend

    x = torch.randn(3, 5)
    expected = fusedops.gelu(x)
    importlib.reload(backend.library)
    reloaded = importlib.reload(backend)
    torch.testing.assert_close(reloaded.gelu(x, None, "none"), expected)
    names = [name for name in sys.modules if name.startswith("fusedops.backends.torch")]
    kept = {name: sys.modules.pop(name) for name in names}
    try:
        again = importlib.import_module("fusedops.backends.torch")
        assert again is not backend
        torch.testing.assert_close(again.gelu(x, None, "none"), expected)
    finally:
        sys.modules.update(kept)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(fusedops.gelu(x).sum(), x)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=str)
def test_inputs_stay_unchanged(problem: Problem) -> None:
    before = [tensor.clone() for tensor in problem.tensors()]
    problem = problem.requiring_grad()
    outputs = getattr(torch.ops.fusedops, problem.operator.name)(*problem.arguments)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    torch.autograd.grad(outputs, problem.tensors(), [torch.ones_like(output) for output in outputs])
    for tensor, value in zip(problem.tensors(), before, strict=True):
        torch.testing.assert_close(tensor.detach(), value, rtol=0, atol=0)


def test_lazy_clone_is_not_materialized() -> None:
    """Kernels read their inputs without forcing a copy of a copy-on-write tensor."""
    x = torch.randn(4, 8)
    clone = torch._lazy_clone(x)
    fusedops.rms_norm(clone)
    fusedops.sdpa(clone[None, None], clone[None, None], clone[None, None])
    assert torch._C._is_cow_tensor(clone)
