"""Calls of the native operators as (name, arguments), with random arrays. Between them they use every option."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx

from fusedops import _mlx

PATHS = ["kernel", "composite"]  # the composites are what derivatives and GPUs without Metal use

Case = tuple[str, tuple[Any, ...]]

NAMES = {
    "rms_norm": ("x", "weight", "residual", "eps", "weight_offset"),
    "gelu": ("x", "bias", "approximate"),
    "geglu": ("gate", "up", "approximate", "gate_first"),
    "sdpa": (
        *("q", "k", "v", "mask", "sinks", "causal", "scale", "window_left", "window_right", "softcap"),
        *("deterministic", "return_lse"),
    ),
}


def operator(name: str, path: str = "kernel") -> Callable[..., Any]:
    """Return the native function."""
    operator: Callable[..., Any] = getattr(_mlx, name if path == "kernel" else f"{name}_composite")
    return operator


def has_kernels(device: mx.DeviceType) -> bool:
    """Return whether the operators run kernels there: composites run on GPUs without Metal."""
    return device == mx.cpu or mx.metal.is_available()


def normal(*shape: int, dtype: mx.Dtype = mx.float32) -> mx.array:
    return mx.random.normal(shape).astype(dtype)


def rms_norm_cases(dtype: mx.Dtype) -> dict[str, Case]:
    x = normal(3, 5, 24, dtype=dtype)
    weight, residual = normal(24, dtype=dtype), normal(3, 5, 24, dtype=dtype)
    other = mx.float16 if dtype == mx.float32 else mx.float32
    return {
        "rms_norm plain": ("rms_norm", (x, None, None, 1e-6, 0.0)),
        "rms_norm offset without weight": ("rms_norm", (x, None, None, 1e-3, 1.0)),
        "rms_norm weight": ("rms_norm", (x, weight, None, 1e-5, 1.0)),
        "rms_norm weight of another dtype": ("rms_norm", (x, weight.astype(other), None, 1e-5, 0.0)),
        "rms_norm residual": ("rms_norm", (x, None, residual, 1e-6, 0.0)),
        "rms_norm weight and residual": ("rms_norm", (x, weight, residual, 1e-6, 0.5)),
        "rms_norm float32 residual": ("rms_norm", (x, weight, residual.astype(mx.float32), 1e-6, 0.5)),
        "rms_norm one row": ("rms_norm", (x[0, 0], weight, None, 1e-6, 0.0)),
    }


def activation_cases(dtype: mx.Dtype) -> dict[str, Case]:
    x, up = 3 * normal(4, 3, 10, dtype=dtype), normal(4, 3, 10, dtype=dtype)
    other = mx.float16 if dtype == mx.float32 else mx.float32
    cases: dict[str, Case] = {
        "gelu bias of another dtype": ("gelu", (x, normal(10, dtype=other), "none")),
        "gelu strided": ("gelu", (x.swapaxes(0, 2), normal(4, dtype=dtype), "tanh")),
        "gelu scalar": ("gelu", (x[0, 0, 0], None, "none")),
        "geglu strided": ("geglu", (x.swapaxes(0, 1), up.swapaxes(0, 1), "none", True)),
    }
    for approximate in ("none", "tanh", "sigmoid"):
        cases[f"gelu {approximate}"] = ("gelu", (x, None, approximate))
        cases[f"gelu bias {approximate}"] = ("gelu", (x, normal(10, dtype=dtype), approximate))
        cases[f"geglu {approximate}"] = ("geglu", (x, up, approximate, True))
        cases[f"geglu packed {approximate}"] = ("geglu", (x, None, approximate, True))
        cases[f"geglu packed, up first {approximate}"] = ("geglu", (x, None, approximate, False))
    return cases


def sdpa_cases(dtype: mx.Dtype) -> dict[str, Case]:
    def case(
        query_heads=4, kv_heads=2, lengths=(5, 7), dims=(8, 6), dtype=dtype, batches=(2, 2, 2), **options: Any
    ) -> Case:
        query_length, key_length = lengths
        arrays = (
            normal(batches[0], query_heads, query_length, dims[0], dtype=dtype),
            normal(batches[1], kv_heads, key_length, dims[0], dtype=dtype),
            normal(batches[2], kv_heads, key_length, dims[1], dtype=dtype),
        )
        defaults = {"causal": 0, "deterministic": False, "return_lse": False}
        rest = (options.get(name, defaults.get(name)) for name in NAMES["sdpa"][3:])
        return "sdpa", (*arrays, *rest)

    def bool_mask(*shape: int) -> mx.array:
        return mx.random.bernoulli(0.6, shape)

    def bias(*shape: int, dtype: mx.Dtype = dtype) -> mx.array:
        return mx.where(mx.random.bernoulli(0.7, shape), mx.random.normal(shape), -mx.inf).astype(dtype)

    hidden_row = mx.arange(5)[:, None] != 2
    sinks = normal(4, dtype=dtype)
    other = mx.float16 if dtype == mx.float32 else mx.float32
    return {
        "sdpa plain": case(),
        "sdpa lse": case(return_lse=True),
        "sdpa one head": case(1, 1, scale=0.3),
        "sdpa multi-query": case(4, 1),
        "sdpa no groups": case(4, 4, dims=(6, 8)),
        "sdpa one batch of keys and values": case(batches=(2, 1, 1), mask=bias(2, 1, 5, 7), return_lse=True),
        "sdpa one batch of queries": case(batches=(1, 2, 2), causal=1),
        "sdpa one query": case(lengths=(1, 9), causal=1),
        "sdpa causal lower right": case(causal=1, return_lse=True),
        "sdpa causal upper left": case(causal=2, return_lse=True),
        "sdpa causal with hidden rows": case(lengths=(7, 4), causal=1, return_lse=True),
        "sdpa window": case(window_left=2, window_right=1),
        "sdpa causal window upper left": case(lengths=(6, 6), causal=2, window_left=1, return_lse=True),
        "sdpa wide window": case(window_left=2**62, window_right=2**62),
        "sdpa softcap": case(softcap=0.7, scale=1.1, return_lse=True),
        "sdpa bool mask": case(mask=bool_mask(2, 4, 5, 7), return_lse=True),
        "sdpa bool mask of keys": case(mask=bool_mask(7)),
        "sdpa bool mask of rows": case(mask=hidden_row, sinks=sinks, return_lse=True),
        "sdpa additive mask": case(mask=bias(2, 4, 5, 7), return_lse=True),
        "sdpa additive mask of heads": case(mask=bias(4, 1, 7, dtype=other)),
        "sdpa additive mask of batches": case(mask=bias(2, 1, 1, 7)),
        "sdpa additive mask of one number": case(mask=normal(1, dtype=dtype)),
        "sdpa sinks": case(sinks=sinks, return_lse=True),
        "sdpa sinks of batches": case(sinks=normal(2, 4, dtype=other)),
        "sdpa large sinks": case(sinks=sinks + 200, mask=hidden_row, return_lse=True),
        "sdpa everything": case(
            lengths=(7, 5), mask=bias(4, 7, 1), sinks=sinks, causal=1, scale=0.5, window_left=2, softcap=2.0,
            return_lse=True,
        ),
    }  # fmt: skip


def all_cases(dtype: mx.Dtype = mx.float32) -> dict[str, Case]:
    return rms_norm_cases(dtype) | activation_cases(dtype) | sdpa_cases(dtype)


def split(arguments: tuple[Any, ...]) -> tuple[list[mx.array], Any]:
    """Return the arrays among the arguments, and how to make the arguments of (other) arrays again."""
    arrays = [x for x in arguments if isinstance(x, mx.array)]

    def join(*others: Any) -> tuple[Any, ...]:
        remaining = iter(others)
        return tuple(next(remaining) if isinstance(x, mx.array) else x for x in arguments)

    return arrays, join
