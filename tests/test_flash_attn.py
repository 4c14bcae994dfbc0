"""flash-attention's calling convention gives what sdpa and sdpa_varlen do, and what they cannot do is refused."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

import fusedops
from fusedops.verification import reference
from fusedops.verification.frameworks import Framework, available

on_every_backend = pytest.mark.parametrize("framework", [f for f in available() if f.operators is fusedops], ids=str)
CALLS = [
    ({}, {}),
    ({"causal": True}, {"causal": True}),
    ({"causal": np.True_}, {"causal": np.True_}),
    ({"softmax_scale": 0.3, "window_size": (4, 0)}, {"scale": 0.3, "window": (4, 0)}),
    ({"window_size": [-1, 2], "softcap": 1.5}, {"window": (None, 2), "softcap": 1.5}),
    ({"window_size": (3, -1), "causal": True, "deterministic": True}, {"window": (3, None), "causal": True}),
]


def arrays(framework: Framework, *shapes: tuple[int, ...]) -> tuple[list[Any], list[Any]]:
    random = np.random.default_rng(0)
    made = [framework.array(random.normal(size=shape), "float32") for shape in shapes]
    return made, [framework.numpy(array) for array in made]


def test_signatures() -> None:
    """As flash_attn 2.8 declares them, and sinks."""
    common = "dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1), softcap=0.0, alibi_slopes=None, "
    common += "deterministic=False, return_attn_probs=False"
    expected = {
        fusedops.flash_attn_func: f"q, k, v, {common}, *, sinks=None",
        fusedops.flash_attn_varlen_func: "q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, "
        f"{common}, block_table=None, *, sinks=None",
    }
    for function, text in expected.items():
        parameters = inspect.signature(function).parameters.values()
        ours = inspect.Signature([p.replace(annotation=p.empty) for p in parameters])
        assert str(ours) == f"({text})"


@on_every_backend
@pytest.mark.parametrize(("flash", "ours"), CALLS, ids=str)
def test_batch(framework: Framework, flash: dict[str, Any], ours: dict[str, Any]) -> None:
    (q, k, v), values = arrays(framework, (2, 9, 4, 16), (2, 12, 2, 16), (2, 12, 2, 8))
    exact, exact_logsumexp = reference.sdpa(*(x.swapaxes(1, 2) for x in values), **ours)
    out = framework.numpy(fusedops.flash_attn_func(q, k, v, **flash))
    np.testing.assert_allclose(out, exact.swapaxes(1, 2), atol=2e-6)
    again, logsumexp, probabilities = fusedops.flash_attn_func(q, k, v, **flash, return_attn_probs=True)
    np.testing.assert_array_equal(framework.numpy(again), out)
    np.testing.assert_allclose(framework.numpy(logsumexp), exact_logsumexp, atol=2e-6)
    assert probabilities is None


@on_every_backend
@pytest.mark.parametrize(("flash", "ours"), CALLS, ids=str)
def test_packed(framework: Framework, flash: dict[str, Any], ours: dict[str, Any]) -> None:
    (q, k, v), values = arrays(framework, (9, 4, 16), (12, 2, 16), (12, 2, 8))
    offsets = (np.array([0, 2, 9]), np.array([0, 5, 12]))
    arguments = (q, k, v, *(framework.array(x, "int32") for x in offsets), 7, 7)
    exact, exact_logsumexp = reference.sdpa_varlen(*values, *offsets, **ours)
    out = framework.numpy(fusedops.flash_attn_varlen_func(*arguments, **flash))
    np.testing.assert_allclose(out, exact, atol=2e-6)
    again, logsumexp, probabilities = fusedops.flash_attn_varlen_func(*arguments, **flash, return_attn_probs=True)
    np.testing.assert_array_equal(framework.numpy(again), out)
    np.testing.assert_allclose(framework.numpy(logsumexp), exact_logsumexp, atol=2e-6)
    assert probabilities is None


@on_every_backend
def test_sinks(framework: Framework) -> None:
    (q, k, v, sinks), values = arrays(framework, (2, 9, 4, 16), (2, 12, 2, 16), (2, 12, 2, 8), (4,))
    exact, _ = reference.sdpa(*(x.swapaxes(1, 2) for x in values[:3]), sinks=values[3], causal=True)
    out = framework.numpy(fusedops.flash_attn_func(q, k, v, causal=True, sinks=sinks))
    np.testing.assert_allclose(out, exact.swapaxes(1, 2), atol=2e-6)
    offsets = framework.array(np.array([0, 9]), "int32"), framework.array(np.array([0, 12]), "int32")
    packed = fusedops.flash_attn_varlen_func(q[0], k[0], v[0], *offsets, 9, 12, causal=True, sinks=sinks)
    np.testing.assert_allclose(framework.numpy(packed), exact[0].swapaxes(0, 1), atol=2e-6)


def test_gradient_of_sinks() -> None:
    torch = pytest.importorskip("torch")
    q, sinks = torch.randn(1, 5, 2, 8), torch.randn(2, requires_grad=True)
    offsets = torch.tensor([0, 5], dtype=torch.int32)
    (batch,) = torch.autograd.grad(fusedops.flash_attn_func(q, q, q, sinks=sinks).square().sum(), sinks)
    out = fusedops.flash_attn_varlen_func(q[0], q[0], q[0], offsets, offsets, 5, 5, sinks=sinks)
    (packed,) = torch.autograd.grad(out.square().sum(), sinks)
    assert (batch != 0).all()
    torch.testing.assert_close(packed, batch)


@on_every_backend
def test_window_in_an_array(framework: Framework) -> None:
    """flash-attention's own tests pass one."""
    (q, k, v), _ = arrays(framework, (1, 9, 4, 16), (1, 12, 2, 16), (1, 12, 2, 8))
    expected = framework.numpy(fusedops.flash_attn_func(q, k, v, window_size=(4, -1)))
    for window in (np.array([4, -1]), framework.array(np.array([4, -1]), "int32")):
        out = framework.numpy(fusedops.flash_attn_func(q, k, v, window_size=window))
        np.testing.assert_array_equal(out, expected)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"dropout_p": 0.1}, "dropout_p must be 0: there is no dropout, got 0.1"),
    ({"alibi_slopes": np.ones(4)}, r"alibi_slopes must be None: .*, got numpy\.ndarray"),
    ({"window_size": 3}, r"window_size must be a pair \(left, right\), got 3"),
    ({"window_size": (1, 2, 3)}, r"window_size must be a pair \(left, right\), got \(1, 2, 3\)"),
    ({"window_size": (-2, 0)}, "window must not be negative, got -2"),
    ({"softcap": -1.0}, "softcap must be finite and above 0, got -1"),
    ({"softmax_scale": np.inf}, "scale must be finite, got inf"),
]
NO_NUMBERS: list[tuple[dict[str, Any], str]] = [
    ({name: value}, f"{name} must be a number, got {kind}")
    for name in ("dropout_p", "softmax_scale", "softcap")
    for value, kind in ((True, "bool"), (False, "bool"), (np.False_, "numpy.bool"), ("0", "str"))
]
NO_NUMBERS += [
    ({"window_size": (True, 0)}, "window_size must be a pair of ints, got bool"),
    ({"window_size": (1.5, 0)}, "window_size must be a pair of ints, got float"),
    ({"window_size": (np.ones(2), 0)}, "window_size must be a pair of ints, got numpy.ndarray"),
    ({"causal": np.ones(2)}, "causal must be a bool, got numpy.ndarray"),
    ({"causal": -1}, "causal must be a bool, got int"),
    ({"causal": 10**400}, "causal must be a bool, got int"),
    ({"deterministic": None}, "deterministic must be a bool, got NoneType"),
    ({"softcap": np.timedelta64(1, "s")}, "softcap must be a number, got numpy.timedelta64"),
    ({"window_size": (np.timedelta64(1, "s"), 1)}, "window_size must be a pair of ints, got numpy.timedelta64"),
    ({"return_attn_probs": np.ones(2)}, "return_attn_probs must be a bool, got numpy.ndarray"),
]


@on_every_backend
@pytest.mark.parametrize(("options", "message"), REFUSED, ids=str)
def test_refused(framework: Framework, options: dict[str, Any], message: str) -> None:
    (q, packed), _ = arrays(framework, (1, 3, 2, 8), (3, 2, 8))
    offsets = framework.array(np.array([0, 3]), "int32")
    with pytest.raises(ValueError, match=message):
        fusedops.flash_attn_func(q, q, q, **options)
    with pytest.raises(ValueError, match=message):
        fusedops.flash_attn_varlen_func(packed, packed, packed, offsets, offsets, 3, 3, **options)


@on_every_backend
@pytest.mark.parametrize(("options", "message"), NO_NUMBERS, ids=str)
def test_refused_as_no_numbers(framework: Framework, options: dict[str, Any], message: str) -> None:
    (q, packed), _ = arrays(framework, (1, 3, 2, 8), (3, 2, 8))
    offsets = framework.array(np.array([0, 3]), "int32")
    with pytest.raises(TypeError, match=message):
        fusedops.flash_attn_func(q, q, q, **options)
    with pytest.raises(TypeError, match=message):
        fusedops.flash_attn_varlen_func(packed, packed, packed, offsets, offsets, 3, 3, **options)


@on_every_backend
def test_refused_shapes_and_pages(framework: Framework) -> None:
    (q, packed), _ = arrays(framework, (1, 3, 2, 8), (3, 2, 8))
    offsets = framework.array(np.array([0, 3]), "int32")
    with pytest.raises(
        ValueError, match=r"k must have 4 dimensions \(batch, length, heads, dim\), got shape \(3, 2, 8\)"
    ):
        fusedops.flash_attn_func(q, packed, q)
    with pytest.raises(TypeError, match=r"q must be a torch.Tensor, an mlx.core.array or a numpy.ndarray, got list"):
        fusedops.flash_attn_func([1.0], q, q)
    with pytest.raises(ValueError, match="block_table must be None"):
        fusedops.flash_attn_varlen_func(packed, packed, packed, offsets, offsets, 3, 3, block_table=offsets)
