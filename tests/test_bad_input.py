"""Bad input raises a ValueError or TypeError that names the argument, on every backend, before anything runs."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusedops
from fusedops.verification.frameworks import Framework, available

Arguments = dict[str, Any]
MLX_GPUS = ("mlx-cuda", "mlx-metal")
RANDOM = np.random.default_rng(7)


class Maker:
    """Makes random arrays of one framework."""

    def __init__(self, framework: Framework) -> None:
        self.framework = framework

    def __call__(self, *shape: int, dtype: str = "float32") -> Any:
        if dtype == "bool":
            return self.framework.array(RANDOM.random(shape) < 0.5, "bool")
        values = RANDOM.normal(size=shape) * 10
        if dtype == "float64":  # MLX's GPUs have none; its CPU does
            return self.framework.array(values, "float32" if self.framework.name in MLX_GPUS else "float64")
        return self.framework.array(values, dtype)


def sdpa_arguments(make: Maker, **changes: Any) -> Arguments:
    arguments = {"q": make(2, 4, 3, 8), "k": make(2, 2, 5, 8), "v": make(2, 2, 5, 6)}
    arguments.update(changes)
    return arguments


def rms_norm_arguments(make: Maker, **changes: Any) -> Arguments:
    return {"x": make(3, 8), "weight": make(8), **changes}


def varlen_arguments(make: Maker, **changes: Any) -> Arguments:
    offsets = [make.framework.array(np.array(values), "int32") for values in ([0, 1, 3], [0, 2, 5])]
    arguments = {"q": make(3, 4, 8), "k": make(5, 2, 8), "v": make(5, 2, 6)}
    arguments |= {"cu_seqlens_q": offsets[0], "cu_seqlens_k": offsets[1], "max_seqlen_q": 2, "max_seqlen_k": 3}
    return arguments | changes


# Taken for numbers by some of the frameworks.
NO_NUMBERS: list[tuple[Any, str]] = [
    (True, "bool"),
    (False, "bool"),
    (np.True_, r"numpy\.bool"),
    ("1", "str"),
    (1j, "complex"),
    (Decimal(1), r"decimal\.Decimal"),
    (np.array(1.0), r"numpy\.ndarray, which would get no gradient"),
]

# (operator, arguments, error, the message's pattern)
Row = tuple[str, Callable[[Maker], Arguments], type[Exception], str]
TABLE: list[Row] = [
    # sdpa: ranks and shapes
    ("sdpa", lambda m: sdpa_arguments(m, q=m(4, 3, 8)), ValueError, r"q must have 4 dimensions.*got shape \(4, 3, 8\)"),
    ("sdpa", lambda m: sdpa_arguments(m, k=m(2, 5, 8)), ValueError, r"k must have 4 dimensions"),
    ("sdpa", lambda m: sdpa_arguments(m, v=m(1, 2, 2, 5, 6)), ValueError, r"v must have 4 dimensions"),
    (
        "sdpa",
        lambda m: sdpa_arguments(m, k=m(2, 2, 5, 7)),
        ValueError,
        r"k must have shape \(2, 2, 5, 8\).*got \(2, 2, 5, 7\)",
    ),
    ("sdpa", lambda m: sdpa_arguments(m, k=m(3, 2, 5, 8)), ValueError, r"k must have shape \(2, 2, 5, 8\)"),
    ("sdpa", lambda m: sdpa_arguments(m, v=m(2, 2, 4, 6)), ValueError, r"v must have shape \(2, 2, 5, 6\)"),
    ("sdpa", lambda m: sdpa_arguments(m, v=m(2, 1, 5, 6)), ValueError, r"v must have shape \(2, 2, 5, 6\)"),
    ("sdpa", lambda m: sdpa_arguments(m, q=m(2, 3, 3, 8)), ValueError, r"q must have a multiple of k's 2 heads, got 3"),
    ("sdpa", lambda m: sdpa_arguments(m, q=m(2, 1, 3, 8)), ValueError, r"q must have a multiple of k's 2 heads, got 1"),
    # sdpa: dtypes
    ("sdpa", lambda m: sdpa_arguments(m, q=m(2, 4, 3, 8, dtype="int32")), TypeError, r"q must be float32.*got int32"),
    (
        "sdpa",
        lambda m: sdpa_arguments(m, k=m(2, 2, 5, 8, dtype="float16")),
        TypeError,
        r"k must have q's dtype, float32, got float16",
    ),
    (
        "sdpa",
        lambda m: sdpa_arguments(m, v=m(2, 2, 5, 6, dtype="int64")),
        TypeError,
        r"v must have q's dtype, float32, got int64",
    ),
    # sdpa: mask and sinks
    (
        "sdpa",
        lambda m: sdpa_arguments(m, mask=m(3, 6, dtype="bool")),
        ValueError,
        r"mask must broadcast to .*\(2, 4, 3, 5\), got shape \(3, 6\)",
    ),
    ("sdpa", lambda m: sdpa_arguments(m, mask=m(2, 2, 3, 5)), ValueError, r"mask must broadcast"),
    ("sdpa", lambda m: sdpa_arguments(m, mask=m(1, 2, 4, 3, 5)), ValueError, r"mask must broadcast"),
    ("sdpa", lambda m: sdpa_arguments(m, mask=m(3, 5, dtype="int32")), TypeError, r"mask must be bool.*got int32"),
    ("sdpa", lambda m: sdpa_arguments(m, sinks=m(2)), ValueError, r"sinks must have shape \(4,\).*got \(2,\)"),
    ("sdpa", lambda m: sdpa_arguments(m, sinks=m(4, dtype="int32")), TypeError, r"sinks must be float32"),
    # sdpa: options
    ("sdpa", lambda m: sdpa_arguments(m, scale=math.inf), ValueError, r"scale must be finite, got inf"),
    ("sdpa", lambda m: sdpa_arguments(m, scale=math.nan), ValueError, r"scale must be finite, got -?nan"),
    ("sdpa", lambda m: sdpa_arguments(m, scale="1"), TypeError, r"scale must be a number, got str"),
    ("sdpa", lambda m: sdpa_arguments(m, softcap=0.0), ValueError, r"softcap must be finite and above 0, got 0"),
    ("sdpa", lambda m: sdpa_arguments(m, softcap=-1.0), ValueError, r"softcap must be finite and above 0, got -1"),
    ("sdpa", lambda m: sdpa_arguments(m, softcap=math.inf), ValueError, r"softcap must be finite and above 0, got inf"),
    ("sdpa", lambda m: sdpa_arguments(m, window=-1), ValueError, r"window must be at least 1.*got -1"),
    ("sdpa", lambda m: sdpa_arguments(m, window=0), ValueError, r"window must be at least 1.*got 0"),
    ("sdpa", lambda m: sdpa_arguments(m, window=(-1, 0)), ValueError, r"window must not be negative, got -1"),
    ("sdpa", lambda m: sdpa_arguments(m, window=(0, -2)), ValueError, r"window must not be negative, got -2"),
    ("sdpa", lambda m: sdpa_arguments(m, window=(1, 2, 3)), ValueError, r"window must be an int or a pair"),
    ("sdpa", lambda m: sdpa_arguments(m, window=1.5), TypeError, r"window must be made of ints or None, got 1.5"),
    ("sdpa", lambda m: sdpa_arguments(m, window="all"), TypeError, r"window must be made of ints or None"),
    ("sdpa", lambda m: sdpa_arguments(m, causal="lower"), ValueError, r"causal must be .*got 'lower'"),
    ("sdpa", lambda m: sdpa_arguments(m, causal=2), ValueError, r"causal must be .*got 2"),
    ("sdpa", lambda m: sdpa_arguments(m, causal=1 + 0j), ValueError, r"causal must be .*got \(1\+0j\)"),
    (
        "sdpa",
        lambda m: sdpa_arguments(m, scale=np.timedelta64(1, "s")),
        TypeError,
        r"scale must be a number, got numpy",
    ),
    (
        "sdpa",
        lambda m: sdpa_arguments(m, window=np.timedelta64(1, "s")),
        TypeError,
        r"window must be made of ints or None",
    ),
    ("sdpa", lambda m: sdpa_arguments(m, causal=[True]), ValueError, r"causal must be"),
    ("sdpa", lambda m: sdpa_arguments(m, deterministic=1), TypeError, r"deterministic must be a bool, got int"),
    ("sdpa", lambda m: sdpa_arguments(m, deterministic=None), TypeError, r"deterministic must be a bool, got NoneType"),
    ("sdpa", lambda m: sdpa_arguments(m, return_lse=1), TypeError, r"return_lse must be a bool, got int"),
    ("sdpa", lambda m: sdpa_arguments(m, scale=m()), TypeError, r"scale must be a number, got .*no gradient"),
    ("sdpa", lambda m: sdpa_arguments(m, softcap=m()), TypeError, r"softcap must be a number, got .*no gradient"),
    ("sdpa", lambda m: sdpa_arguments(m, scale=1e39), ValueError, r"scale must be finite in float32, got 1e\+39"),
    ("sdpa", lambda m: sdpa_arguments(m, scale=-1e39), ValueError, r"scale must be finite in float32, got -1e\+39"),
    ("sdpa", lambda m: sdpa_arguments(m, scale=10**400), ValueError, r"scale must be finite, got inf"),
    ("sdpa", lambda m: sdpa_arguments(m, scale=3e38), ValueError, r"scale must be 0 or of a magnitude .*got 3e\+38"),
    ("sdpa", lambda m: sdpa_arguments(m, scale=-1e-40), ValueError, r"scale must be 0 or of a magnitude .*got -1e-40"),
    ("sdpa", lambda m: sdpa_arguments(m, softcap=1e-50), ValueError, r"softcap must be .* in float32, got 1e-50"),
    ("sdpa", lambda m: sdpa_arguments(m, softcap=1e39), ValueError, r"softcap must be .* in float32, got 1e\+39"),
    ("sdpa", lambda m: sdpa_arguments(m, softcap=1e-39), ValueError, r"softcap must be from .*, got 1e-39"),
    ("sdpa", lambda m: sdpa_arguments(m, softcap=1e31), ValueError, r"softcap must be from .*, got 1e\+31"),
    *(
        ("sdpa", lambda m, name=name, value=value: sdpa_arguments(m, **{name: value}), TypeError, pattern)
        for name in ("scale", "softcap")
        for value, pattern in ((v, rf"{name} must be a number, got {kind}") for v, kind in NO_NUMBERS)
    ),
    ("sdpa", lambda m: sdpa_arguments(m, window=True), TypeError, r"window must be made of ints or None, got True"),
    ("sdpa", lambda m: sdpa_arguments(m, window=np.True_), TypeError, r"window must be made of ints or None, got"),
    ("sdpa", lambda m: sdpa_arguments(m, window=(1, False)), TypeError, r"window must be made of ints or None"),
    # sdpa: other frameworks
    (
        "sdpa",
        lambda m: sdpa_arguments(m, q=[[1.0]]),
        TypeError,
        r"q must be a torch.Tensor, an mlx.core.array or a numpy.ndarray, got list",
    ),
    ("sdpa", lambda m: sdpa_arguments(m, k=None), TypeError, r"k must be a"),
    ("sdpa", lambda m: sdpa_arguments(m, v=3.0), TypeError, r"v must be a .* got float"),
    ("sdpa", lambda m: sdpa_arguments(m, mask=[[True]]), TypeError, r"mask must be a .* got list"),
    # sdpa_varlen; its sequences: tests/test_sdpa_varlen.py
    ("sdpa_varlen", lambda m: varlen_arguments(m, q=m(1, 3, 4, 8)), ValueError, r"q must have 3 dimensions"),
    ("sdpa_varlen", lambda m: varlen_arguments(m, v=m(5, 2)), ValueError, r"v must have 3 dimensions"),
    ("sdpa_varlen", lambda m: varlen_arguments(m, k=m(5, 2, 7)), ValueError, r"k must have shape \(5, 2, 8\)"),
    ("sdpa_varlen", lambda m: varlen_arguments(m, v=m(4, 2, 6)), ValueError, r"v must have shape \(5, 2, 6\)"),
    ("sdpa_varlen", lambda m: varlen_arguments(m, q=m(3, 3, 8)), ValueError, r"q must have a multiple of k's 2 heads"),
    ("sdpa_varlen", lambda m: varlen_arguments(m, q=m(3, 4, 8, dtype="int32")), TypeError, r"q must be float32"),
    ("sdpa_varlen", lambda m: varlen_arguments(m, k=m(5, 2, 8, dtype="float16")), TypeError, r"k must have q's dtype"),
    (
        "sdpa_varlen",
        lambda m: varlen_arguments(m, cu_seqlens_q=m(3)),
        TypeError,
        r"cu_seqlens_q must be int32, got float32",
    ),
    (
        "sdpa_varlen",
        lambda m: varlen_arguments(m, cu_seqlens_k=m.framework.array(np.array([0, 5]), "int32")),
        ValueError,
        r"cu_seqlens_k must have shape \(3,\), as cu_seqlens_q has, got \(2,\)",
    ),
    (
        "sdpa_varlen",
        lambda m: varlen_arguments(m, cu_seqlens_q=m.framework.array(np.array([[0, 3]]), "int32")),
        ValueError,
        r"cu_seqlens_q must have shape \(sequences \+ 1,\), got \(1, 2\)",
    ),
    ("sdpa_varlen", lambda m: varlen_arguments(m, cu_seqlens_q=[0, 1, 3]), TypeError, r"cu_seqlens_q must be a"),
    ("sdpa_varlen", lambda m: varlen_arguments(m, cu_seqlens_k=None), TypeError, r"cu_seqlens_k must be a"),
    (
        "sdpa_varlen",
        lambda m: varlen_arguments(m, max_seqlen_q=2.0),
        TypeError,
        r"max_seqlen_q must be an int, got float",
    ),
    (
        "sdpa_varlen",
        lambda m: varlen_arguments(m, max_seqlen_q=True),
        TypeError,
        r"max_seqlen_q must be an int, got bool",
    ),
    ("sdpa_varlen", lambda m: varlen_arguments(m, max_seqlen_k=np.True_), TypeError, r"max_seqlen_k must be an int"),
    ("sdpa_varlen", lambda m: varlen_arguments(m, scale=True), TypeError, r"scale must be a number, got bool"),
    (
        "sdpa_varlen",
        lambda m: varlen_arguments(m, softcap=Fraction(1, 10**400)),
        ValueError,
        r"softcap must be .* in float32",
    ),
    ("sdpa_varlen", lambda m: varlen_arguments(m, softcap=1e-50), ValueError, r"softcap must be .* in float32"),
    ("sdpa_varlen", lambda m: varlen_arguments(m, max_seqlen_k=-1), ValueError, r"max_seqlen_k must not be negative"),
    ("sdpa_varlen", lambda m: varlen_arguments(m, sinks=m(2)), ValueError, r"sinks must have shape \(4,\)"),
    ("sdpa_varlen", lambda m: varlen_arguments(m, softcap=0.0), ValueError, r"softcap must be finite and above 0"),
    ("sdpa_varlen", lambda m: varlen_arguments(m, scale=m()), TypeError, r"scale must be a number, got"),
    ("sdpa_varlen", lambda m: varlen_arguments(m, return_lse=None), TypeError, r"return_lse must be a bool, got None"),
    ("sdpa_varlen", lambda m: varlen_arguments(m, window=-1), ValueError, r"window must be at least 1"),
    ("sdpa_varlen", lambda m: varlen_arguments(m, causal="no"), ValueError, r"causal must be"),
    # rms_norm
    ("rms_norm", lambda m: {"x": m()}, ValueError, r"x must have at least one dimension"),
    (
        "rms_norm",
        lambda m: rms_norm_arguments(m, weight=m(7)),
        ValueError,
        r"weight must have shape \(8,\).*got \(7,\)",
    ),
    (
        "rms_norm",
        lambda m: rms_norm_arguments(m, weight=m(3, 8)),
        ValueError,
        r"weight must have shape \(8,\).*got \(3, 8\); .*normalise without one and multiply by it",
    ),
    (
        "rms_norm",
        lambda m: rms_norm_arguments(m, weight=m(8, dtype="int32")),
        TypeError,
        r"weight must be float32.*got int32",
    ),
    ("rms_norm", lambda m: rms_norm_arguments(m, weight="w"), TypeError, r"weight must be a .* got str"),
    ("rms_norm", lambda m: rms_norm_arguments(m, x=m(3, 8, dtype="int64")), TypeError, r"x must be float32.*got int64"),
    ("rms_norm", lambda m: rms_norm_arguments(m, residual=m(3, 7)), ValueError, r"residual must have shape \(3, 8\)"),
    ("rms_norm", lambda m: rms_norm_arguments(m, residual=m(8)), ValueError, r"residual must have shape \(3, 8\)"),
    (
        "rms_norm",
        lambda m: rms_norm_arguments(m, residual=m(3, 8, dtype="bfloat16")),
        TypeError,
        r"residual must have x's dtype, float32, got bfloat16",
    ),
    (
        "rms_norm",
        lambda m: rms_norm_arguments(m, x=m(3, 8, dtype="bfloat16"), residual=m(3, 8, dtype="float16")),
        TypeError,
        r"residual must have x's dtype, bfloat16, or float32, got float16",
    ),
    (
        "rms_norm",
        lambda m: rms_norm_arguments(m, residual=m(3, 8, dtype="int32")),
        TypeError,
        r"residual must be float32.*got int32",
    ),
    ("rms_norm", lambda m: rms_norm_arguments(m, eps=-1e-6), ValueError, r"eps must be 0, or positive .*, got -1e-06"),
    ("rms_norm", lambda m: rms_norm_arguments(m, eps=-1e-60), ValueError, r"eps must be 0, or positive .*, got -1e-60"),
    ("rms_norm", lambda m: rms_norm_arguments(m, eps=math.nan), ValueError, r"eps must be .* finite .* got -?nan"),
    ("rms_norm", lambda m: rms_norm_arguments(m, eps=1e300), ValueError, r"eps must be .* in float32, got 1e\+300"),
    ("rms_norm", lambda m: rms_norm_arguments(m, eps=m()), TypeError, r"eps must be a number, got .*no gradient"),
    (
        "rms_norm",
        lambda m: rms_norm_arguments(m, eps=np.array(0.5)),
        TypeError,
        r"eps must be a number, got numpy.ndarray.*no gradient",
    ),
    (
        "rms_norm",
        lambda m: rms_norm_arguments(m, weight_offset=m(1)),
        TypeError,
        r"weight_offset must be a number, got .*no gradient",
    ),
    ("rms_norm", lambda m: rms_norm_arguments(m, eps="small"), TypeError, r"eps must be a number, got str"),
    ("rms_norm", lambda m: rms_norm_arguments(m, weight_offset=math.inf), ValueError, r"weight_offset must be finite"),
    ("rms_norm", lambda m: rms_norm_arguments(m, eps=Fraction(1, 10**400)), ValueError, r"eps must be .* in float32"),
    ("rms_norm", lambda m: rms_norm_arguments(m, eps=1e-46), ValueError, r"eps must be .* in float32, got 1e-46"),
    ("rms_norm", lambda m: rms_norm_arguments(m, eps=1e39), ValueError, r"eps must be .* in float32, got 1e\+39"),
    (
        "rms_norm",
        lambda m: rms_norm_arguments(m, weight_offset=-1e39),
        ValueError,
        r"weight_offset must be finite in float32, got -1e\+39",
    ),
    *(
        ("rms_norm", lambda m, name=name, value=value: rms_norm_arguments(m, **{name: value}), TypeError, pattern)
        for name in ("eps", "weight_offset")
        for value, pattern in ((v, rf"{name} must be a number, got {kind}") for v, kind in NO_NUMBERS)
    ),
    ("rms_norm", lambda m: rms_norm_arguments(m, x=None), TypeError, r"x must be a torch.Tensor"),
    # gelu and geglu
    ("gelu", lambda m: {"x": m(3, 8, dtype="int32")}, TypeError, r"x must be float32.*got int32"),
    ("gelu", lambda m: {"x": m(3, 8, dtype="bool")}, TypeError, r"x must be float32.*got bool"),
    ("gelu", lambda m: {"x": m(3, 8), "bias": m(3)}, ValueError, r"bias must have shape \(8,\).*got \(3,\)"),
    ("gelu", lambda m: {"x": m(), "bias": m(1)}, ValueError, r"x must have at least one dimension"),
    ("gelu", lambda m: {"x": m(3, 8), "bias": 1.0}, TypeError, r"bias must be a .* got float"),
    (
        "gelu",
        lambda m: {"x": m(3, 8), "approximate": "erf"},
        ValueError,
        r"approximate must be 'none', 'tanh' or 'sigmoid', got 'erf'",
    ),
    ("gelu", lambda m: {"x": m(3, 8), "approximate": None}, TypeError, r"approximate must be a string, got NoneType"),
    ("gelu", lambda m: {"x": m(3, 8), "approximate": True}, TypeError, r"approximate must be a string, got bool"),
    ("geglu", lambda m: {"gate": m(3, 8), "up": m(3, 4)}, ValueError, r"up must have shape \(3, 8\)"),
    (
        "geglu",
        lambda m: {"gate": m(3, 8), "up": m(3, 8, dtype="float16")},
        TypeError,
        r"up must have gate's dtype, float32, got float16",
    ),
    ("geglu", lambda m: {"gate": m(3, 7)}, ValueError, r"gate must have an even last dimension"),
    ("geglu", lambda m: {"gate": m()}, ValueError, r"gate must have at least one dimension"),
    ("geglu", lambda m: {"gate": m(3, 8), "approximate": "quick"}, ValueError, r"approximate must be"),
    ("geglu", lambda m: {"gate": m(3, 8, dtype="int32")}, TypeError, r"gate must be float32"),
    (
        "geglu",
        lambda m: {"gate": m(3, 8), "up": m(3, 8), "gate_first": False},
        ValueError,
        r"gate_first must be True where up is given.*got False",
    ),
    ("geglu", lambda m: {"gate": m(3, 8), "gate_first": 0}, TypeError, r"gate_first must be a bool, got int"),
    (
        "geglu",
        lambda m: {"gate": m(3, 8), "approximate": None},
        TypeError,
        r"approximate must be a string, got NoneType",
    ),
    ("gelu", lambda m: {"x": m(3, 8), "approximate": 1}, TypeError, r"approximate must be a string, got int"),
]


@pytest.mark.parametrize("framework", available(), ids=str)
@pytest.mark.parametrize(("operator", "arguments", "error", "pattern"), TABLE, ids=[f"{r[0]}: {r[3]}" for r in TABLE])
def test_message(framework: Framework, operator: str, arguments: Any, error: type[Exception], pattern: str) -> None:
    with pytest.raises(error, match=pattern) as caught:
        _force(framework, getattr(framework.operators, operator)(**arguments(Maker(framework))))
    assert caught.type is error


WRONG: dict[str, Any] = {
    "2**70": 2**70,
    "-2**70": -(2**70),
    "10**5000": 10**5000,
    "complex": 1j,
    "string": "3",
    "surrogate": "\ud800",
    "bytes": b"none",
    "Decimal": Decimal("1.5"),
    "list": [1.0],
    "array": np.ones(3),
    "object": object(),
    "None": None,
    "nan": math.nan,
}
OPTIONS = {
    "sdpa": ("causal", "scale", "window", "softcap", "deterministic", "return_lse"),
    "sdpa_varlen": ("max_seqlen_q", "max_seqlen_k", "causal", "scale", "window", "softcap", "deterministic"),
    "rms_norm": ("eps", "weight_offset"),
    "gelu": ("approximate",),
    "geglu": ("approximate",),
}


@pytest.mark.parametrize("framework", available(), ids=str)
@pytest.mark.parametrize(("operator", "option"), [(name, option) for name in OPTIONS for option in OPTIONS[name]])
def test_no_option_is_answered_by_the_binding(framework: Framework, operator: str, option: str) -> None:
    """Whatever an option is, it is taken, or refused by its name; nor does explain() say anything else."""
    make = Maker(framework)
    arguments = {
        "sdpa": sdpa_arguments,
        "sdpa_varlen": varlen_arguments,
        "rms_norm": rms_norm_arguments,
        "gelu": lambda make: {"x": make(3, 8)},
        "geglu": lambda make: {"gate": make(3, 8)},
    }[operator](make)
    wrong = [*WRONG.values(), *((WRONG["2**70"], value) for value in (0, None) if option == "window")]
    for value in wrong:
        for call in (getattr(framework.operators, operator), functools.partial(fusedops.explain, operator)):
            try:
                _force_unless_explained(framework, call(**{**arguments, option: value}))
            except (TypeError, ValueError) as error:
                assert str(error).startswith(f"{option} must "), (value, str(error))


def _force_unless_explained(framework: Framework, result: Any) -> None:
    if not isinstance(result, fusedops.Explanation):
        _force(framework, result)


class Quantity(np.ndarray):
    """Numbers that mean nothing without their unit."""

    def __array_function__(self, *arguments: Any) -> Any:
        """Nobody computes with them but who knows it."""
        return NotImplemented


@pytest.mark.parametrize("make", [lambda x: np.ma.masked_array(x, x > 0), lambda x: x.view(Quantity)])
def test_arrays_that_mean_more_than_their_memory(make: Callable[[Any], Any]) -> None:
    x, q = np.ones((3, 8), np.float32), np.ones((1, 2, 3, 8), np.float32)
    packed, offsets = q[0].swapaxes(0, 1), np.array([0, 3], np.int32)
    longest = {"max_seqlen_q": 3, "max_seqlen_k": 3}
    five = {"q": packed, "k": packed, "v": packed, "cu_seqlens_q": offsets, "cu_seqlens_k": offsets}
    calls: list[tuple[Any, Arguments, Arguments]] = [
        (fusedops.rms_norm, {"x": x, "weight": x[0], "residual": x}, {}),
        (fusedops.gelu, {"x": x, "bias": x[0]}, {}),
        (fusedops.geglu, {"gate": x, "up": x}, {}),
        (fusedops.sdpa, {"q": q, "k": q, "v": q, "mask": q[..., :3], "sinks": q[0, 0, 0, :2]}, {}),
        (fusedops.sdpa_varlen, {**five, "sinks": q[0, 0, 0, :2]}, longest),
        (fusedops.flash_attn_func, {"q": q, "k": q, "v": q}, {}),
        (fusedops.flash_attn_varlen_func, five, longest),
    ]
    for function, arrays, options in calls:
        function(**arrays, **options)
        for name in arrays:
            changed = {**arrays, name: make(arrays[name])}
            with pytest.raises(TypeError, match=rf"^{name} must be a plain numpy\.ndarray, got "):
                function(**changed, **options)
            if not function.__name__.startswith("flash"):
                with pytest.raises(TypeError, match=r"must be a plain numpy\.ndarray, got "):
                    fusedops.explain(function, **changed, **options)


def test_arrays_that_are_their_memory(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=x.shape)
    mapped[:] = x
    for same in (mapped, np.asmatrix(x), x.view(np.recarray)):
        np.testing.assert_array_equal(fusedops.gelu(same), fusedops.gelu(x))
        np.testing.assert_array_equal(fusedops.rms_norm(x, residual=same)[0], fusedops.rms_norm(x, residual=x)[0])


def _force(framework: Framework, result: Any) -> None:
    """Evaluate a result that should never have come about, so that a late error shows as one."""
    for array in result if isinstance(result, tuple) else (result,):
        framework.numpy(array)


@pytest.mark.parametrize("framework", [f for f in available() if f.name not in MLX_GPUS], ids=str)
@pytest.mark.parametrize("operator", ["sdpa", "rms_norm", "gelu", "geglu"])
def test_float64_is_no_dtype_of_ours(framework: Framework, operator: str) -> None:
    array = Maker(framework)(2, 2, 4, 4, dtype="float64")
    arguments = (array, array, array) if operator == "sdpa" else (array,)
    with pytest.raises(TypeError, match="must be float32, float16 or bfloat16, got float64"):
        _force(framework, getattr(framework.operators, operator)(*arguments))


@pytest.mark.parametrize("framework", available(), ids=str)
@pytest.mark.parametrize("number", [2, Fraction(2), np.float64(2), np.float32(2), np.float16(2), np.int64(2)], ids=repr)
def test_real_numbers_of_any_kind(framework: Framework, number: Any) -> None:
    make = Maker(framework)
    x, q = make(3, 8), make(1, 2, 3, 8)
    for run in (
        lambda value: framework.operators.rms_norm(x, None, value),
        lambda value: framework.operators.rms_norm(x, None, 1e-6, weight_offset=value),
        lambda value: framework.operators.sdpa(q, q, q, scale=value),
        lambda value: framework.operators.sdpa(q, q, q, softcap=value),
    ):
        np.testing.assert_array_equal(framework.numpy(run(number)), framework.numpy(run(2.0)))


@pytest.mark.parametrize("framework", available(), ids=str)
@pytest.mark.parametrize("softcap", [2.0**-100, 2.0**100])
def test_ends_of_softcap(framework: Framework, softcap: float) -> None:
    """Capped scores tend to 0 and to what they are."""
    make = Maker(framework)
    q, k, v = make(1, 2, 40, 16), make(1, 2, 50, 16), make(1, 2, 50, 8)
    out = framework.numpy(framework.operators.sdpa(q, k, v, softcap=softcap))
    scale = 0.0 if softcap < 1 else None
    np.testing.assert_allclose(
        out, framework.numpy(framework.operators.sdpa(q, k, v, scale=scale)), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("framework", available(), ids=str)
@pytest.mark.parametrize("scale", [2.0**-100, -(2.0**-100), 2.0**100, -(2.0**100)])
def test_ends_of_scale(framework: Framework, scale: float) -> None:
    """Of tiny scores all keys weigh alike, of huge ones the largest takes all."""
    make = Maker(framework)
    q, k, v = make(1, 2, 40, 16), make(1, 2, 50, 16), make(1, 2, 50, 8)
    out = framework.numpy(framework.operators.sdpa(q, k, v, scale=scale))
    values = framework.numpy(v)
    if abs(scale) < 1:
        expected = np.broadcast_to(values.mean(2, keepdims=True), out.shape)
    else:
        scores = framework.numpy(q) @ framework.numpy(k).swapaxes(-1, -2) * np.sign(scale)
        expected = np.take_along_axis(values, scores.argmax(-1)[..., None], 2)
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-5)


def _with_dtype(name: str) -> Any:
    """Return a numpy array or torch tensor of a dtype that operators do not take."""
    import ml_dtypes

    if name.startswith("torch."):
        torch = pytest.importorskip("torch")
        return torch.empty(2, 8, dtype=getattr(torch, name.removeprefix("torch.")))
    return np.zeros((2, 8), getattr(ml_dtypes, name, name))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (">f4", r">f4 \(foreign byte order\)"),
        (">f2", r">f2 \(foreign byte order\)"),
        ("O", "object"),
        ("U3", "str96"),
        ("S3", "bytes24"),
        ("M8[ns]", r"datetime64\[ns\]"),
        ("V8", "void64"),
        ("f4,i4", "void64"),
        ("longdouble", np.dtype("longdouble").name),
        ("clongdouble", np.dtype("clongdouble").name),
        ("float8_e4m3fn", "float8_e4m3fn"),
        ("float8_e5m2", "float8_e5m2"),
        ("int4", "int4"),
        ("uint4", "uint4"),
        ("torch.float8_e4m3fn", "float8_e4m3fn"),
        ("torch.float8_e5m2fnuz", "float8_e5m2fnuz"),
        ("torch.complex32", "complex32"),
        ("torch.complex128", "complex128"),
        ("torch.uint16", "uint16"),
    ],
)
def test_dtype_is_named(name: str, told: str) -> None:
    """Wherever it stands: dtypes that we have no name for go by their own."""
    if np.dtype("longdouble").itemsize == 8 and "longdouble" in name:
        pytest.skip("long double is float64 here")
    bad = _with_dtype(name)
    framework = next(f for f in available() if f.name == ("torch-cpu" if name.startswith("torch.") else "numpy"))
    make = Maker(framework)
    x, q, mask, packed = make(2, 8), make(1, 1, 2, 8), bad[None, None], make(2, 1, 8)
    offsets = framework.array(np.array([0, 2]), "int32")
    lengths = {"max_seqlen_q": 2, "max_seqlen_k": 2}
    calls: list[tuple[str, Callable[[], Any]]] = [
        (r"x must be float32, float16 or bfloat16, got", lambda: fusedops.rms_norm(bad)),
        (r"weight must be float32, float16 or bfloat16, got", lambda: fusedops.rms_norm(x, bad[0])),
        (r"residual must be float32, float16 or bfloat16, got", lambda: fusedops.rms_norm(x, residual=bad)),
        (r"x must be .*, got", lambda: fusedops.gelu(bad)),
        (r"bias must be .*, got", lambda: fusedops.gelu(x, bias=bad[0])),
        (r"gate must be .*, got", lambda: fusedops.geglu(bad)),
        (r"up must have gate's dtype, float32, got", lambda: fusedops.geglu(x, bad)),
        (r"q must be .*, got", lambda: fusedops.sdpa(mask, q, q)),
        (r"k must have q's dtype, float32, got", lambda: fusedops.sdpa(q, mask, q)),
        (r"v must have q's dtype, float32, got", lambda: fusedops.sdpa(q, q, mask)),
        (r"mask must be bool, float32, float16 or bfloat16, got", lambda: fusedops.sdpa(q, q, q, mask=mask[..., :2])),
        (r"sinks must be .*, got", lambda: fusedops.sdpa(q, q, q, sinks=bad[0, :1])),
        (
            r"cu_seqlens_k must be int32, got",
            lambda: fusedops.sdpa_varlen(packed, packed, packed, offsets, bad[0, :2], **lengths),
        ),
        (
            r"q must be .*, got",
            lambda: fusedops.sdpa_varlen(bad[:, None], packed, packed, offsets, offsets, **lengths),
        ),
        (
            r"sinks must be .*, got",
            lambda: fusedops.sdpa_varlen(packed, packed, packed, offsets, offsets, sinks=bad[0, :1], **lengths),
        ),
        (r"x must be .*, got", lambda: fusedops.explain("gelu", bad)),
    ]
    for pattern, call in calls:
        with pytest.raises(TypeError, match=f"{pattern} {told}$"):
            call()


@pytest.mark.parametrize("first", available(), ids=str)
@pytest.mark.parametrize("second", available(), ids=str)
def test_mixed_frameworks(first: Framework, second: Framework) -> None:
    if type(first) is type(second):
        return
    with pytest.raises(TypeError, match=r"weight must be a .* as the first array is"):
        fusedops.rms_norm(Maker(first)(3, 8), Maker(second)(8))
    with pytest.raises(TypeError, match=r"v must be a .* as the first array is"):
        fusedops.sdpa(Maker(first)(1, 2, 3, 8), Maker(first)(1, 2, 3, 8), Maker(second)(1, 2, 3, 8))


def test_mixed_devices() -> None:
    torch = pytest.importorskip("torch")
    x, weight = torch.randn(3, 8), torch.randn(8, device="meta")
    with pytest.raises(TypeError, match="weight must be on x's device, cpu, got meta"):
        fusedops.rms_norm(x, weight)


@pytest.mark.parametrize("framework", available(), ids=str)
def test_inputs_stay_as_they_were(framework: Framework) -> None:
    make = Maker(framework)
    arrays = sdpa_arguments(make, mask=make(3, 5), sinks=make(4))
    x, weight, residual, bias, gate = make(3, 8), make(8), make(3, 8), make(8), make(3, 8)
    packed = varlen_arguments(make)
    inputs = [*arrays.values(), *list(packed.values())[:5], x, weight, residual, bias, gate]
    before = [framework.numpy(array).copy() for array in inputs]
    operators = framework.operators
    results = [
        operators.sdpa(**arrays, causal=True, window=2, softcap=2.0, return_lse=True),
        operators.sdpa_varlen(**packed, causal=True),
        operators.rms_norm(x, weight, residual=residual, weight_offset=1.0),
        operators.gelu(x, bias=bias, approximate="tanh"),
        operators.geglu(gate, x),
    ]
    for result in results:
        _force(framework, result)
    for array, values in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(framework.numpy(array), values)
