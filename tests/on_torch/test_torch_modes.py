"""How the operators behave in torch's modes, with its tensor types, across threads and processes."""

from __future__ import annotations

import copy
import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest
import torch
import torch_problems
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import fusedops
from fusedops import _torch


class Block(torch.nn.Module):
    """Attention and a gated activation, normalised, with parameters."""

    def __init__(self) -> None:
        """Make the parameters."""
        super().__init__()
        self.norm = torch.nn.Parameter(torch.rand(16) + 0.5)
        self.sinks = torch.nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, length, 16) to itself."""
        normed, total = fusedops.rms_norm(x, self.norm, residual=0.5 * x)
        heads = normed.unflatten(-1, (4, 4)).transpose(1, 2)
        attended = fusedops.sdpa(heads, heads[:, :2], heads[:, 2:], causal=True, sinks=self.sinks)
        return fusedops.geglu(total, fusedops.gelu(attended.transpose(1, 2).flatten(2)))


def run_script(script: str) -> None:
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=120)


# --- autograd's modes


def test_no_graph_without_need() -> None:
    block, x = Block(), torch.randn(2, 3, 16)
    assert block(x).grad_fn is not None
    with torch.no_grad():
        assert block(x).grad_fn is None
    with torch.inference_mode():
        assert block(x).is_inference()
    assert block.requires_grad_(False)(x).grad_fn is None
    assert block(x.clone().requires_grad_()).grad_fn is not None


def test_variants_agree() -> None:
    block, x = Block(), torch.randn(2, 3, 16)
    with torch.no_grad():
        inference = block(x)
    torch.testing.assert_close(block(x).detach(), inference, rtol=0, atol=0)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpoint(use_reentrant: bool) -> None:
    block, x = Block(), torch.randn(2, 3, 16, requires_grad=True)
    expected = torch.autograd.grad(block(x).sin().sum(), (x, block.norm))
    checkpoint(block, x, use_reentrant=use_reentrant).sin().sum().backward()
    torch.testing.assert_close((x.grad, block.norm.grad), expected)


def test_deepcopy_and_state_dict() -> None:
    block, x = Block(), torch.randn(2, 3, 16)
    other = copy.deepcopy(block)
    torch.testing.assert_close(other(x), block(x), rtol=0, atol=0)
    other.norm.data += 1
    block.load_state_dict(other.state_dict())
    torch.testing.assert_close(other(x), block(x), rtol=0, atol=0)


# --- torch.autocast


def test_autocast_like_torch() -> None:
    """Attention computes in autocast's dtype, the others in that of their arguments, as torch's own do on the CPU."""
    q, x, weight = torch.randn(1, 2, 4, 8), torch.randn(3, 8), torch.rand(8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = fusedops.sdpa(q, q, q, mask=torch.randn(4, 4))
        assert out.dtype == functional.scaled_dot_product_attention(q, q, q).dtype == torch.bfloat16
        assert fusedops.rms_norm(x, weight).dtype == functional.rms_norm(x, (8,), weight).dtype == torch.float32
        assert fusedops.rms_norm(x.bfloat16(), weight).dtype == torch.bfloat16
        assert fusedops.gelu(x).dtype == torch.float32
    bf16 = q.bfloat16()
    assert fusedops.sdpa(q, q, q).dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(fusedops.sdpa(q, q, q), fusedops.sdpa(bf16, bf16, bf16), rtol=0, atol=0)


def test_autocast_promotes_what_must_share_a_dtype() -> None:
    x, other = torch.randn(3, 8), torch.randn(3, 8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for pair in ((other, x), (x, other)):
            y, total = fusedops.rms_norm(pair[0], residual=pair[1])
            torch.testing.assert_close(total, x + other, rtol=0, atol=0)
            assert y.dtype == torch.float32
        torch.testing.assert_close(fusedops.geglu(x, other), fusedops.gelu(x) * other)
    with pytest.raises(TypeError, match="residual must have x's dtype"):
        fusedops.rms_norm(x, residual=other)


def test_autocast_gradients_and_compile() -> None:
    def loss(q: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return fusedops.sdpa(q, q, q, causal=True).float().square().sum()

    q = torch.randn(1, 2, 4, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss(q), q)
    assert gradient.dtype == torch.float32
    (exact,) = torch.autograd.grad(fusedops.sdpa(q, q, q, causal=True).square().sum(), q)
    torch.testing.assert_close(gradient, exact, rtol=0.05, atol=0.05)
    torch._dynamo.reset()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(torch.autograd.grad(compiled(q), q)[0], gradient)


def test_backward_under_autocast() -> None:
    """Calling backward() under torch.autocast does not make its products less precise; nor are tangents."""
    q = torch.randn(1, 2, 40, 8, requires_grad=True)
    out = fusedops.sdpa(q, q, q)
    (expected,) = torch.autograd.grad(out, q, torch.ones_like(out), retain_graph=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (gradient,) = torch.autograd.grad(out, q, torch.ones_like(out))
        _, tangent = torch.func.jvp(lambda q: fusedops.sdpa(q, q, q), (q.detach(),), (torch.ones_like(q),))
    torch.testing.assert_close(gradient, expected, rtol=0, atol=0)
    assert tangent.dtype == torch.bfloat16
    low = q.detach().bfloat16()
    _, expected = torch.func.jvp(lambda q: fusedops.sdpa(q, q, q), (low,), (torch.ones_like(low),))
    torch.testing.assert_close(tangent, expected)


# --- kinds of tensors


class Tagged(torch.Tensor):
    """A subclass without behaviour of its own."""


def test_subclasses() -> None:
    x = torch.randn(3, 8)
    tagged = fusedops.gelu(fusedops.rms_norm(x.as_subclass(Tagged)))
    assert type(tagged) is Tagged
    torch.testing.assert_close(tagged.as_subclass(Tensor), fusedops.gelu(fusedops.rms_norm(x)), rtol=0, atol=0)


def test_dispatch_modes_see_one_operator() -> None:
    from torch.utils._python_dispatch import TorchDispatchMode

    seen = []

    class Record(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(str(func))
            return func(*args, **(kwargs or {}))

    x = torch.randn(3, 8)
    with Record():
        fusedops.rms_norm(x)
        fusedops.rms_norm(x.requires_grad_())
    assert [name for name in seen if "fusedops" in name] == [
        "fusedops.rms_norm_inference.default",
        "fusedops.rms_norm.default",
    ]


def test_negated_view() -> None:
    """The imaginary part of a conjugate is a view whose sign is still to be applied."""
    view = torch.randn(4, 8, dtype=torch.complex64).conj().imag
    assert view.is_neg()
    torch.testing.assert_close(fusedops.gelu(view), fusedops.gelu(view.clone().resolve_neg()), rtol=0, atol=0)


def test_meta_tensors() -> None:
    q, k = torch.empty(2, 4, 3, 8, device="meta"), torch.empty(2, 2, 5, 8, device="meta")
    out, logsumexp = fusedops.sdpa(q, k, k, return_lse=True)
    assert out.shape == q.shape and logsumexp.shape == (2, 4, 3) and out.device.type == "meta"
    with pytest.raises(TypeError, match="k must be on q's device"):
        fusedops.sdpa(q, torch.randn(2, 2, 5, 8), k)


def test_batched_variants_without_autograd() -> None:
    """The operators themselves under vmap, as an exported graph calls them."""
    x, weight = torch.randn(4, 3, 8), torch.rand(4, 8)
    ops = torch.ops.fusedops
    y = torch.vmap(lambda x, w: ops.rms_norm_inference(x, w, 1e-6, 0.0))(x, weight)
    torch.testing.assert_close(y, torch.stack([fusedops.rms_norm(a, w) for a, w in zip(x, weight, strict=True)]))
    y, total = torch.vmap(lambda x: ops.add_rms_norm_inference(x, x, None, 1e-6, 0.0))(x)
    torch.testing.assert_close((y, total), fusedops.rms_norm(x, residual=x))
    torch.testing.assert_close(torch.vmap(lambda x: ops.gelu_inference(x, None, 0), 1, 1)(x), fusedops.gelu(x))
    torch.testing.assert_close(
        torch.vmap(lambda x: ops.geglu_inference(x, x, 2, True))(x), fusedops.geglu(x, x, approximate="sigmoid")
    )


# --- errors


def test_error_leaves_no_references() -> None:
    """A call that fails gives back every tensor that the native side took."""
    x, wrong = torch.randn(3, 8), torch.randn(7)
    before = x._use_count(), wrong._use_count()
    for _ in range(3):
        with pytest.raises((RuntimeError, ValueError), match="weight must have shape"):
            torch.ops.fusedops.rms_norm_inference(x, wrong, 1e-6, 0.0)
        with pytest.raises((RuntimeError, ValueError), match="mask must broadcast"):
            torch.ops.fusedops.sdpa(
                x[None, None], x[None, None], x[None, None], wrong, None, 0, 1.0, None, None, 2.0, False
            )
    fusedops.sdpa(x[None, None], x[None, None], x[None, None], mask=x[:, :3], softcap=1.0)
    assert (x._use_count(), wrong._use_count()) == before


def test_too_old_a_torch_is_said() -> None:
    with pytest.raises(ImportError, match=r"needs torch 2\.10 or newer.*pip install --upgrade"):
        _torch.load("/nowhere/libtorch_cpu.so")
    torch.testing.assert_close(fusedops.gelu(torch.zeros(3)), torch.zeros(3))


@pytest.mark.parametrize("name", ["rms_norm", "sdpa"])
def test_composite_validates(name: str) -> None:
    """Where there is no kernel, bad input must not broadcast its way through."""
    x = torch.randn(1, 2, 3, 4)
    bad = {
        "rms_norm": (x, torch.randn(1), 1e-6, 0.0),
        "sdpa": (x, x[:, :, :2], x, *(None,) * 2, 0, *(None,) * 4, False),
    }
    operator = next(o for o in (p.operator for p in torch_problems.all_problems()) if o.name == name)
    with pytest.raises(ValueError, match="must have shape"):
        operator.checked_composite(*bad[name])


# --- threads and processes


def test_eight_threads() -> None:
    block, x = Block(), torch.randn(4, 33, 16)
    expected = torch.autograd.grad(block(x).sum(), block.norm)[0]
    failures = []

    def work() -> None:
        for _ in range(20):
            (gradient,) = torch.autograd.grad(block(x).sum(), block.norm)
            if not torch.allclose(gradient, expected, rtol=1e-4):
                failures.append(gradient)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_thread_count_changes_no_result() -> None:
    x, threads = torch.randn(64, 4096), torch.get_num_threads()
    q = torch.randn(2, 4, 70, 16)
    expected = fusedops.rms_norm(x), fusedops.sdpa(q, q, q)
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            torch.testing.assert_close((fusedops.rms_norm(x), fusedops.sdpa(q, q, q)), expected, rtol=0, atol=0)
    finally:
        torch.set_num_threads(threads)


def test_forked_child() -> None:
    """Even after the parent has used several threads, where torch's own operators hang."""
    run_script(
        """
        import os, torch, fusedops
        torch.set_num_threads(2)
        x = torch.randn(64, 4096)
        expected = fusedops.rms_norm(x).numpy().tobytes()
        child = os.fork()
        if child == 0:
            os._exit(0 if fusedops.rms_norm(x).numpy().tobytes() == expected else 1)
        _, status = os.waitpid(child, 0)
        assert status == 0
        """
    )


def test_import_inside_modes() -> None:
    """The first call may come while a transform or a mode is active."""
    run_script(
        """
        import torch, fusedops
        x = torch.randn(3, 8)
        with torch.inference_mode():
            y = torch.vmap(fusedops.gelu)(x)
        (gradient,) = torch.autograd.grad(fusedops.gelu(x.requires_grad_()).sum(), x)
        assert y.shape == gradient.shape
        """
    )


# --- numbers


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_eps_like_torch(dtype: torch.dtype) -> None:
    """Without one it is float32's epsilon, whatever the dtype; 0 is taken, and makes NaN of zeros."""
    x = (torch.randn(3, 8) * 1e-4).to(dtype)
    torch.testing.assert_close(fusedops.rms_norm(x, eps=None), functional.rms_norm(x, (8,), eps=None))
    zeros = torch.zeros(1, 8, dtype=dtype)
    assert fusedops.rms_norm(zeros, eps=0).isnan().all() and functional.rms_norm(zeros, (8,), eps=0.0).isnan().all()
