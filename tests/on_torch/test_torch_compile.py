"""torch.compile and torch.export: one graph, no recompilation for every length, early errors."""

from __future__ import annotations

import functools
import io
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

import fusedops

BACKEND = "aot_eager"


@pytest.fixture(autouse=True)
def _fresh_compiler() -> None:
    torch._dynamo.reset()


def block(x: Tensor, weight: Tensor) -> Tensor:
    """Every operator once: a small transformer block on x of shape (batch, length, 32)."""
    batch, length, _ = x.shape
    normed, total = fusedops.rms_norm(x, weight, residual=x * 0.5, weight_offset=1.0)
    heads = normed.view(batch, length, 4, 8).transpose(1, 2)
    attended = fusedops.sdpa(heads, heads[:, :2], heads[:, 2:], causal=True, window=7, softcap=3.0)
    merged = fusedops.gelu(attended.transpose(1, 2).reshape(batch, length, 32), bias=weight)
    up = fusedops.geglu(torch.cat([merged, total], dim=-1), approximate="tanh")
    return fusedops.rms_norm(up)


def inputs(length: int = 6) -> tuple[Tensor, Tensor]:
    return torch.randn(2, length, 32), torch.rand(32) + 0.5


def gradients(function: Callable[..., Tensor], *arguments: Tensor) -> tuple[Tensor, ...]:
    leaves = [argument.clone().requires_grad_() for argument in arguments]
    output = function(*leaves)
    return output, *torch.autograd.grad(output.sin().sum(), leaves)


def test_block() -> None:
    compiled, arguments = torch.compile(block, backend=BACKEND, fullgraph=True), inputs()
    torch.testing.assert_close(compiled(*arguments), block(*arguments))
    torch.testing.assert_close(gradients(compiled, *arguments), gradients(block, *arguments), rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(not shutil.which("c++"), reason="Inductor needs a C++ compiler")
def test_inductor() -> None:
    def function(x: Tensor, weight: Tensor) -> Tensor:
        return fusedops.rms_norm(x.sin(), weight) * 2

    x, weight = torch.randn(3, 8), torch.rand(8)
    torch.testing.assert_close(torch.compile(function, fullgraph=True)(x, weight), function(x, weight))


@pytest.mark.parametrize("differentiated", [False, True])
def test_lengths_do_not_recompile(differentiated: bool) -> None:
    counter = CompileCounterWithBackend(BACKEND)
    compiled = torch.compile(block, backend=counter, fullgraph=True)
    for length in (6, 9, 17, 40, 41):
        arguments = inputs(length)
        if differentiated:
            torch.testing.assert_close(
                gradients(compiled, *arguments), gradients(block, *arguments), rtol=1e-3, atol=1e-3
            )
        else:
            torch.testing.assert_close(compiled(*arguments), block(*arguments))
    assert counter.frame_count <= 2  # one for the first length, one for any


def test_marked_dynamic() -> None:
    counter = CompileCounterWithBackend(BACKEND)
    compiled = torch.compile(block, backend=counter, fullgraph=True)
    for length in (5, 12):
        x, weight = inputs(length)
        torch._dynamo.mark_dynamic(x, 1)
        torch.testing.assert_close(compiled(x, weight), block(x, weight))
    assert counter.frame_count == 1


def test_mask_sinks_and_logsumexp() -> None:
    def attend(q: Tensor, k: Tensor, mask: Tensor, sinks: Tensor) -> Tensor:
        out, logsumexp = fusedops.sdpa(q, k, k, mask=mask, sinks=sinks, return_lse=True)
        return out * logsumexp.unsqueeze(-1)

    arguments = torch.randn(1, 4, 5, 8), torch.randn(1, 2, 7, 8), torch.randn(5, 7), torch.randn(4)
    compiled = torch.compile(attend, backend=BACKEND, fullgraph=True)
    torch.testing.assert_close(gradients(compiled, *arguments), gradients(attend, *arguments))


def test_bad_input_fails_while_compiling() -> None:
    counter = CompileCounterWithBackend(BACKEND)
    compiled = torch.compile(lambda x, w: fusedops.rms_norm(x.cos(), w), backend=counter, fullgraph=True)
    with pytest.raises(Exception, match=r"weight must have shape \(8,\)"):
        compiled(torch.randn(2, 8), torch.randn(7))
    assert counter.frame_count == 0


@pytest.mark.parametrize("transform", ["vmap", "grad", "jvp"])
def test_transforms_inside(transform: str) -> None:
    from torch.func import grad, jvp, vmap

    x, weight = torch.randn(3, 2, 8), torch.rand(8)

    def function(x: Tensor) -> Any:
        def loss(x: Tensor) -> Tensor:
            return fusedops.gelu(fusedops.rms_norm(x, weight)).sum()

        if transform == "vmap":
            return vmap(loss)(x)
        if transform == "grad":
            return grad(loss)(x)
        return jvp(loss, (x,), (x.cos(),))

    torch.testing.assert_close(torch.compile(function, backend=BACKEND)(x), function(x))


def test_first_import_while_compiling() -> None:
    """The operators may be needed for the first time when torch.compile is tracing already."""
    script = """
import sys, torch, fusedops
assert "fusedops.backends.torch" not in sys.modules

@torch.compile(backend="aot_eager", fullgraph=True)
def f(x):
    return fusedops.rms_norm(x.sin()) + 1

x = torch.randn(3, 8)
torch.testing.assert_close(f(x), torch.nn.functional.rms_norm(x.sin(), (8,), eps=1e-6) + 1)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def offsets(*lengths: int) -> Tensor:
    return torch.tensor([0, *lengths]).cumsum(0).int()


def varlen(q: Tensor, cu: Tensor, longest: Any, window: Any = None) -> Tensor:
    out: Tensor = fusedops.sdpa_varlen(
        q, q, q, cu, cu, max_seqlen_q=longest, max_seqlen_k=longest, causal=True, window=window
    )
    return out


@pytest.mark.parametrize("differentiated", [False, True])
def test_integers_do_not_recompile(differentiated: bool) -> None:
    """Each is a constant at first, and a symbol from its second value on."""
    counter = CompileCounterWithBackend(BACKEND)
    compiled = torch.compile(varlen, backend=counter, fullgraph=True)
    for longest, window in ((3, 3), (5, 4), (4, 6), (9, 2), (7, 9)):
        q, cu = torch.randn(longest + 2, 2, 8), offsets(2, longest)
        options = {"cu": cu, "longest": longest, "window": window}
        if differentiated:
            ours = gradients(functools.partial(compiled, **options), q)
            torch.testing.assert_close(ours, gradients(functools.partial(varlen, **options), q))
        else:
            torch.testing.assert_close(compiled(q, **options), varlen(q, **options))
    assert counter.frame_count <= 2


@pytest.mark.parametrize("window", [3, (2, None), (1, 4)], ids=str)
def test_windows_do_not_recompile(window: Any) -> None:
    counter = CompileCounterWithBackend(BACKEND)
    compiled = torch.compile(lambda q, w: fusedops.sdpa(q, q, q, window=w), backend=counter, fullgraph=True)
    x = torch.randn(1, 2, 20, 8)
    for more in range(6):
        w = window + more if isinstance(window, int) else tuple(s if s is None else s + more for s in window)
        torch.testing.assert_close(compiled(x, w), fusedops.sdpa(x, x, x, window=w))
    assert counter.frame_count <= 2


READ: dict[str, Callable[[Tensor], Any]] = {
    "item": lambda longest: longest.item(),
    "int": int,
    "tensor": lambda longest: longest,
}


@pytest.mark.parametrize("read", READ)
@pytest.mark.parametrize("differentiated", [False, True])
def test_integers_from_data(read: str, differentiated: bool) -> None:
    """One graph with lengths that are only known when it runs, by both calling conventions."""

    def attend(q: Tensor, cu: Tensor) -> Tensor:
        longest = READ[read](cu.diff().max())
        out: Tensor = varlen(q, cu, longest) + fusedops.flash_attn_varlen_func(q, q, q, cu, cu, longest, longest)
        return out

    with torch._dynamo.config.patch(capture_scalar_outputs=True):
        compiled = torch.compile(attend, backend=BACKEND, fullgraph=True)
        for lengths in ((2, 5), (4, 3), (1, 6)):
            q, cu = torch.randn(7, 2, 8), offsets(*lengths)
            torch.testing.assert_close(compiled(q, cu), attend(q, cu))
            if differentiated:
                ours, theirs = (gradients(functools.partial(f, cu=cu), q) for f in (compiled, attend))
                torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("strict", [False, True])
def test_export_of_integers_from_data(strict: bool) -> None:
    class Module(torch.nn.Module):
        def forward(self, q: Tensor, cu: Tensor) -> Tensor:
            return varlen(q, cu, cu.diff().max())

    total = torch.export.Dim("total", min=2, max=1000)
    arguments = (torch.randn(7, 2, 8), offsets(2, 5))
    program = torch.export.export(Module(), arguments, dynamic_shapes=({0: total}, None), strict=strict)
    for lengths in ((2, 5), (12, 3)):
        q, cu = torch.randn(sum(lengths), 2, 8), offsets(*lengths)
        torch.testing.assert_close(program.module()(q, cu), varlen(q, cu, max(lengths)))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_integers_in_tensors(dtype: torch.dtype) -> None:
    """Outside of torch.compile, too."""
    q, cu, longest = torch.randn(7, 2, 8), offsets(2, 5), torch.tensor(5, dtype=dtype)
    torch.testing.assert_close(varlen(q, cu, longest, longest), varlen(q, cu, 5, 5), rtol=0, atol=0)
    for wrong in (torch.tensor(5.0), torch.tensor(True)):
        with pytest.raises(TypeError, match="max_seqlen_q must be an int, got"):
            varlen(q, cu, wrong)


def test_bad_integers_are_said_when_the_graph_runs() -> None:
    compiled = torch.compile(varlen, backend=BACKEND, fullgraph=True)
    q, cu = torch.randn(7, 2, 8), offsets(2, 5)
    for longest, window in ((5, 3), (6, 4)):
        compiled(q, cu, longest, window)
    with pytest.raises((RuntimeError, ValueError), match="window must not be negative"):
        compiled(q, cu, 5, -3)


class Block(torch.nn.Module):
    """The block with its weight as a parameter."""

    def __init__(self) -> None:
        """Make the parameter."""
        super().__init__()
        self.weight = torch.nn.Parameter(torch.rand(32) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Run it."""
        return block(x, self.weight)


@pytest.mark.parametrize("differentiable", [False, True])
def test_export(differentiable: bool) -> None:
    module = Block().requires_grad_(differentiable)
    x, _ = inputs()
    program = torch.export.export(module, (x,), dynamic_shapes={"x": {1: torch.export.Dim("length", min=2, max=100)}})
    targets = {str(node.target) for node in program.graph.nodes}
    assert ("fusedops.sdpa.default" if differentiable else "fusedops.sdpa_inference.default") in targets
    stream = io.BytesIO()
    torch.export.save(program, stream)
    stream.seek(0)
    loaded = torch.export.load(stream).module()
    for length in (6, 33):
        x, _ = inputs(length)
        torch.testing.assert_close(loaded(x), module(x))


@pytest.mark.parametrize("dynamic", [None, True])
def test_numpy_scalars(dynamic: bool | None) -> None:
    """As 1 / np.sqrt(head_dim) is one."""

    def function(q: Tensor) -> Tensor:
        q = fusedops.rms_norm(q, eps=np.float64(0.5), weight_offset=np.float64(1))
        return fusedops.sdpa(q, q, q, scale=1 / np.sqrt(8), softcap=np.float64(2))

    q = torch.randn(1, 2, 4, 8)
    compiled = torch.compile(function, backend="aot_eager", fullgraph=True, dynamic=dynamic)
    torch.testing.assert_close(compiled(q), function(q))
