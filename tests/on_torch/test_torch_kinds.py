"""Kinds of tensors: taken for what they mean, or refused by the argument's name."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.masked import masked_tensor
from torch.nn import functional
from torch.nn.attention.bias import causal_lower_right, causal_upper_left
from torch_problems import normal

import fusedops

X = normal(3, 8).float()
Q, KV = normal(1, 2, 5, 8).float(), normal(1, 2, 9, 8).float()
PACKED, OFFSETS = normal(5, 2, 8).float(), torch.tensor([0, 2, 5], dtype=torch.int32)


def varlen(**changes: Any) -> Any:
    arguments = {"q": PACKED, "k": PACKED, "v": PACKED, "cu_seqlens_q": OFFSETS, "cu_seqlens_k": OFFSETS}
    return fusedops.sdpa_varlen(**{**arguments, **changes}, max_seqlen_q=3, max_seqlen_k=3)


def sdpa(**changes: Any) -> Any:
    return fusedops.sdpa(**{"q": Q, "k": Q, "v": Q, **changes})


# Every array argument of every operator, with a tensor that fits there.
ARGUMENTS: dict[str, tuple[Callable[..., Any], Tensor]] = {
    "rms_norm x": (fusedops.rms_norm, X),
    "rms_norm weight": (lambda **x: fusedops.rms_norm(X, **x), X[0]),
    "rms_norm residual": (lambda **x: fusedops.rms_norm(X, **x), X),
    "gelu x": (fusedops.gelu, X),
    "gelu bias": (lambda **x: fusedops.gelu(X, **x), X[0]),
    "geglu gate": (fusedops.geglu, X),
    "geglu up": (lambda **x: fusedops.geglu(X, **x), X),
    **{f"sdpa {name}": (sdpa, Q) for name in ("q", "k", "v")},
    "sdpa mask": (sdpa, normal(5, 5).float()),
    "sdpa sinks": (sdpa, normal(2).float()),
    **{f"sdpa_varlen {name}": (varlen, PACKED) for name in ("q", "k", "v")},
    **{f"sdpa_varlen {name}": (varlen, OFFSETS) for name in ("cu_seqlens_q", "cu_seqlens_k")},
    "sdpa_varlen sinks": (varlen, normal(2).float()),
    **{
        f"flash_attn_func {name}": (lambda **x: fusedops.flash_attn_func(**{**QKV, **x}), Q) for name in ("q", "k", "v")
    },
}
QKV = {"q": Q, "k": Q, "v": Q}


def nested(tensor: Tensor, layout: torch.layout) -> Tensor:
    return torch.nested.nested_tensor(list(tensor) if tensor.dim() > 1 else [tensor, tensor], layout=layout)


KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "masked": lambda tensor: masked_tensor(tensor, tensor > 0),
    "nested": lambda tensor: nested(tensor, torch.strided),
    "jagged": lambda tensor: nested(tensor, torch.jagged),
    "coo": Tensor.to_sparse,
    "csr": lambda tensor: tensor.reshape(-1, tensor.shape[-1]).to_sparse_csr(),
    "mkldnn": Tensor.to_mkldnn,
    "quantized": lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.quint8),
    "causal bias": lambda tensor: causal_upper_left(5, 5),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("argument", ARGUMENTS)
def test_what_is_not_in_plain_memory_is_refused(argument: str, kind: str) -> None:
    operator, name = argument.split()
    call, tensor = ARGUMENTS[argument]
    if (name.startswith("cu_") and kind in ("mkldnn", "quantized")) or (argument, kind) == ("sdpa mask", "causal bias"):
        return  # there is no such tensor; that one has a meaning
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = KINDS[kind](tensor)
    for context in (torch.no_grad(), torch.enable_grad(), torch._C.DisableTorchFunctionSubclass()):
        if kind == "causal bias" and isinstance(context, torch._C.DisableTorchFunctionSubclass):
            continue  # then nobody asks types for their meaning, and it is a tensor as others are
        with context, pytest.raises((TypeError, ValueError), match=rf"^{name} must ") as caught:
            call(**{name: value})
        assert "incompatible function arguments" not in str(caught.value)
    if operator.startswith("flash"):
        return
    with pytest.raises((TypeError, ValueError), match=rf"^{name} must "):
        explained = {"rms_norm": {"x": X}, "gelu": {"x": X}, "geglu": {"gate": X}, "sdpa": QKV}.get(operator)
        packed = dict(zip(("q", "k", "v"), [PACKED] * 3, strict=True)) | {"max_seqlen_q": 3, "max_seqlen_k": 3}
        packed |= {"cu_seqlens_q": OFFSETS, "cu_seqlens_k": OFFSETS}
        fusedops.explain(operator, **{**(explained or packed), name: value})


@pytest.mark.parametrize("make", [causal_lower_right, causal_upper_left])
@pytest.mark.parametrize("lengths", [(5, 9), (5, 5), (1, 9)], ids=str)
def test_causal_bias(make: Callable[..., Any], lengths: tuple[int, int]) -> None:
    """Torch's own attention takes it as the mask; so do we, in tensors that types and modes override, too."""
    q, kv = (normal(1, 2, length, 8).float() for length in lengths)
    bias = make(*lengths)
    expected = functional.scaled_dot_product_attention(q, kv, kv, attn_mask=bias)
    out = fusedops.sdpa(q, kv, kv, mask=bias)
    torch.testing.assert_close(out, expected)
    assert type(out) is Tensor
    assert type(fusedops.sdpa(q.as_subclass(Tagged), kv, kv, mask=bias)) is Tagged
    with torch.device("cpu"):
        torch.testing.assert_close(fusedops.sdpa(q, kv, kv, mask=bias), expected)
    words = str(fusedops.explain("sdpa", q, kv, kv, mask=bias))
    assert words == str(fusedops.explain("sdpa", q, kv, kv, causal=make.__name__.removeprefix("causal_")))


def test_causal_bias_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"mask must broadcast .* lengths \(5, 9\), got a CausalBias of \(5, 8\)"):
        fusedops.sdpa(Q, KV, KV, mask=causal_lower_right(5, 8))
    with pytest.raises(ValueError, match="causal must be False where mask is a CausalBias, got True"):
        fusedops.sdpa(Q, KV, KV, mask=causal_lower_right(5, 9), causal=True)


class Tagged(Tensor):
    """A subclass without behaviour of its own."""


class Overriding:
    """What is no tensor, but has functions of tensors called its way."""

    calls: list[tuple[Any, Any, Any]]

    def __init__(self) -> None:
        """Begin with no calls."""
        self.calls = []

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Say what was called."""
        return func, args, kwargs


def test_types_that_override_functions_are_given_the_public_ones() -> None:
    mine = Overriding()
    assert fusedops.rms_norm(X, mine, 1e-5) == (
        fusedops.rms_norm,
        (X,),
        {"weight": mine, "eps": 1e-5, "residual": None, "weight_offset": 0.0},
    )
    for function, arguments in (
        (fusedops.gelu, {"bias": mine}),
        (fusedops.geglu, {"up": mine}),
        (lambda x, **more: fusedops.sdpa(x, x, x, **more), {"mask": mine}),
        (lambda x, **more: fusedops.sdpa_varlen(x, x, x, x, mine, max_seqlen_q=1, max_seqlen_k=1), {}),
        (lambda x, **more: fusedops.flash_attn_func(x, mine, x), {}),
        (lambda x, **more: fusedops.flash_attn_varlen_func(x, x, x, mine, x, 1, 1), {}),
    ):
        called, args, kwargs = function(X, **arguments)
        assert called.__module__.startswith("fusedops.ops.")
        assert mine in kwargs.values() or any(argument is mine for argument in args)


def test_parameters_and_buffers_are_plain() -> None:
    for kind in (torch.nn.Parameter, torch.nn.Buffer):
        y = fusedops.rms_norm(kind(X), kind(X[0]))
        torch.testing.assert_close(y, fusedops.rms_norm(X, X[0]), rtol=0, atol=0)
        assert type(y) is Tensor


def test_meta_gradients() -> None:
    """Devices that no dispatch key is named after have gradients, too."""
    for function in (fusedops.rms_norm, fusedops.gelu, fusedops.geglu, lambda x: fusedops.sdpa(x, x, x)):
        x = torch.empty(1, 2, 3, 8, device="meta", requires_grad=True)
        (gradient,) = torch.autograd.grad(function(x).sum(), x)
        assert gradient.shape == x.shape


def test_explain_says_what_it_was_given() -> None:
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode() as mode:
        fake = mode.from_tensor(X)
    for tensor, name in (
        (fake, "FakeTensor"),
        (X.to("meta"), "torch.Tensor (meta)"),
        (X.as_subclass(Tagged), "Tagged"),
    ):
        explanation = fusedops.explain("gelu", tensor)
        assert name in explanation.arrays
        assert explanation.execution.path == ("cpu" if name == "Tagged" else "none")
    assert "Gradients are computed by fused kernels" in str(fusedops.explain("gelu", X))
    assert "stores all scores" in str(fusedops.explain("sdpa", Q, Q, Q))
