"""torch's tools: its counter of FLOPs, tracers of several kinds, functionalize."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functionalize, grad, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode
from torch_problems import normal

import fusedops

Q, KV = normal(2, 4, 6, 8).float(), normal(2, 2, 10, 8).float()
V = normal(2, 2, 10, 5).float()
X, WEIGHT = normal(3, 8).float(), normal(8).float()

CALLS: dict[str, Callable[[Tensor], Tensor]] = {
    "rms_norm": lambda x: fusedops.rms_norm(x, WEIGHT),
    "add_rms_norm": lambda x: fusedops.rms_norm(x, WEIGHT, residual=x.sin())[0],
    "gelu": lambda x: fusedops.gelu(x, bias=WEIGHT),
    "geglu": lambda x: fusedops.geglu(x, approximate="tanh"),
    "sdpa": lambda x: fusedops.sdpa(x[None, None], x[None, None], x[None, None], causal=True)[0, 0],
    "sdpa_varlen": lambda x: fusedops.sdpa_varlen(
        *[x.unsqueeze(1)] * 3, *[torch.tensor([0, 1, 3], dtype=torch.int32)] * 2, max_seqlen_q=2, max_seqlen_k=2
    ).squeeze(1),
}


# --- FLOPs


def flops(function: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    total: int = counter.get_total_flops()
    return total


def test_flops_of_attention() -> None:
    """Two products per head, and five for gradients; causality saves nothing, as in torch's own."""
    products = [2 * 2 * 4 * 6 * 10 * size for size in (8, 5)]
    assert flops(lambda: fusedops.sdpa(Q, KV, V, causal=True)) == sum(products)
    leaves = [x.clone().requires_grad_() for x in (Q, KV, V)]
    both = flops(lambda: fusedops.sdpa(*leaves).sum().backward())
    assert both == sum(products) + 3 * products[0] + 2 * products[1]
    swapped = [x.transpose(1, 2) for x in (Q, KV, V)]
    assert flops(lambda: fusedops.flash_attn_func(*swapped)) == sum(products)
    assert flops(lambda: functional.scaled_dot_product_attention(Q, Q, Q)) in (0, flops(lambda: fusedops.sdpa(Q, Q, Q)))


def test_flops_of_packed_sequences() -> None:
    """By their lengths where these are known, else as if all were as long as the longest."""
    q, k, v = normal(9, 4, 8).float(), normal(12, 2, 8).float(), normal(12, 2, 5).float()
    offsets = [torch.tensor(ends, dtype=torch.int32) for ends in ([0, 2, 9], [0, 5, 12])]

    def call(*tensors: Tensor) -> Tensor:
        return fusedops.sdpa_varlen(*tensors, max_seqlen_q=7, max_seqlen_k=8)

    scores = 4 * (2 * 5 + 7 * 7)
    assert flops(lambda: call(q, k, v, *offsets)) == 2 * scores * (8 + 5)
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]
    assert flops(lambda: call(*leaves, *offsets).sum().backward()) == 2 * scores * (4 * 8 + 3 * 5)
    on_meta = [x.to("meta") for x in (q, k, v, *offsets)]
    assert flops(lambda: call(*on_meta)) == 2 * 4 * 2 * 7 * 8 * (8 + 5)


def test_rows_and_elements_count_nothing() -> None:
    for name in ("rms_norm", "add_rms_norm", "gelu", "geglu"):
        assert flops(lambda name=name: CALLS[name](X)) == 0


# --- torch.jit.trace


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in CALLS if name != "sdpa_varlen"])
def test_jit_trace_of_a_module_with_parameters(name: str) -> None:
    """It passes its own check, which compares a graph with gradients to one without; and is saved and loaded."""

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.factor = torch.nn.Parameter(torch.tensor(1.5))

        def forward(self, x: Tensor) -> Tensor:
            return CALLS[name](x * self.factor)

    module = Module()
    traced = torch.jit.trace(module, X)
    stream = io.BytesIO()
    torch.jit.save(traced, stream)
    stream.seek(0)
    other = normal(3, 8, seed=3).float()
    for each in (traced, torch.jit.load(stream)):
        torch.testing.assert_close(each(other), module(other))
        (gradient,) = torch.autograd.grad(each(other).sum(), list(each.parameters()))
        (expected,) = torch.autograd.grad(module(other).sum(), list(module.parameters()))
        torch.testing.assert_close(gradient, expected)


# --- torch.func.functionalize and make_fx


@pytest.mark.parametrize("name", CALLS)
def test_functionalize(name: str) -> None:
    function = CALLS[name]
    torch.testing.assert_close(functionalize(function)(X), function(X), rtol=0, atol=0)
    stacked = torch.stack([X, X.cos()])
    expected = torch.stack([function(X), function(X.cos())])
    torch.testing.assert_close(functionalize(vmap(function))(stacked), expected)
    torch.testing.assert_close(vmap(functionalize(function))(stacked), expected)
    gradient = grad(lambda x: function(x).sin().sum())
    torch.testing.assert_close(functionalize(gradient)(X), gradient(X), rtol=1e-4, atol=1e-5)
    inner = grad(lambda x: functionalize(function)(x).sin().sum())
    torch.testing.assert_close(inner(X), gradient(X), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(functionalize(vmap(gradient))(stacked), vmap(gradient)(stacked), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CALLS)
def test_make_fx_of_functionalize(name: str) -> None:
    graph = make_fx(functionalize(CALLS[name]))(X)
    ours = [str(node.target) for node in graph.graph.nodes if str(node.target).startswith("fusedops.")]
    assert ours == [f"fusedops.{name}.default"]
    other = normal(3, 8, seed=3).float()
    torch.testing.assert_close(graph(other), CALLS[name](other), rtol=1e-5, atol=1e-6)


# --- torch.fx.symbolic_trace


class Traced(torch.nn.Module):
    """Calls one operator; options, too, are arguments of the module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        """Take the function to call."""
        super().__init__()
        self.function = function
        self.weight = torch.nn.Parameter(torch.rand(8))

    def forward(self, x: Tensor, option: Any) -> Any:
        """Call it."""
        return self.function(x, self.weight, option)


OFFSETS = torch.tensor([0, 1, 3], dtype=torch.int32)
TRACED: dict[str, tuple[Any, Callable[..., Any], Tensor, Any]] = {
    "rms_norm": (fusedops.rms_norm, fusedops.rms_norm, X, 1e-3),
    "keywords": (fusedops.rms_norm, lambda x, w, eps: fusedops.rms_norm(eps=eps, weight=w, x=x), X, 1e-3),
    "parameter": (fusedops.rms_norm, lambda x, w, eps: fusedops.rms_norm(X, x[0], eps), X, 1e-3),
    "gelu": (fusedops.gelu, lambda x, w, form: fusedops.gelu(x, approximate=form, bias=w), X, "tanh"),
    "geglu": (fusedops.geglu, lambda x, w, form: fusedops.geglu(x, approximate=form), X, "sigmoid"),
    "geglu, up first": (fusedops.geglu, lambda x, w, first: fusedops.geglu(x, gate_first=first), X, False),
    "sdpa": (fusedops.sdpa, lambda x, w, window: fusedops.sdpa(x, KV, KV, window=window, causal=True), Q, 3),
    "sdpa_varlen": (
        fusedops.sdpa_varlen,
        lambda x, w, n: fusedops.sdpa_varlen(x, x, x, OFFSETS, OFFSETS, max_seqlen_q=n, max_seqlen_k=n),
        normal(3, 2, 8).float(),
        2,
    ),
    "flash_attn_func": (
        fusedops.flash_attn_func,
        lambda x, w, scale: fusedops.flash_attn_func(x, x, x, softmax_scale=scale),
        normal(1, 3, 2, 8).float(),
        0.3,
    ),
    "flash_attn_varlen_func": (
        fusedops.flash_attn_varlen_func,
        lambda x, w, n: fusedops.flash_attn_varlen_func(x, x, x, OFFSETS, OFFSETS, n, n, causal=True),
        normal(3, 2, 8).float(),
        2,
    ),
}


@pytest.mark.parametrize("name", TRACED)
def test_symbolic_trace(name: str) -> None:
    public, function, x, option = TRACED[name]
    module = Traced(function)
    traced = torch.fx.symbolic_trace(module)
    assert [node.target for node in traced.graph.nodes if str(node.target).find("getitem") < 0][-2] is public
    torch.testing.assert_close(traced(x, option), module(x, option), rtol=0, atol=0)
    for node in traced.graph.nodes:
        node.type = None  # of a source with postponed annotations torch.fx pickles none
    traced.recompile()
    loaded = pickle.loads(pickle.dumps(traced))
    torch.testing.assert_close(loaded(x, option), module(x, option), rtol=0, atol=0)
