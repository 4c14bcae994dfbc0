"""Random arguments for the operators of torch.ops.fusedops, in the order of their schemas.

Small enough for numerical derivatives. Masks that hide everything from a row are among them.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fusedops.backends.torch.operators import add_rms_norm, geglu, gelu, rms_norm, sdpa, sdpa_varlen


@dataclass(frozen=True)
class Problem:
    """An operator with its arguments; `name` tells what is special about them."""

    name: str
    operator: Any
    arguments: tuple[Any, ...]

    def __str__(self) -> str:
        """Name it for pytest."""
        return f"{self.operator.name} {self.name}"

    def tensors(self) -> list[Tensor]:
        """Return the arguments that have gradients."""
        return [argument for argument in self.arguments if is_floating(argument)]

    def to(self, dtype: torch.dtype) -> Problem:
        """Return the problem with its floating tensors in another dtype."""
        arguments = tuple(a.detach().to(dtype) if is_floating(a) else a for a in self.arguments)
        return dataclasses.replace(self, arguments=arguments)

    def requiring_grad(self) -> Problem:
        """Return the problem with fresh leaves that all require gradients."""
        arguments = tuple(a.detach().clone().requires_grad_() if is_floating(a) else a for a in self.arguments)
        return dataclasses.replace(self, arguments=arguments)

    def non_contiguous(self) -> Problem:
        """Return the problem with its tensors strided by 2 in the last dimension."""
        arguments = tuple(_strided(a) if isinstance(a, Tensor) else a for a in self.arguments)
        return dataclasses.replace(self, arguments=arguments)


def is_floating(argument: Any) -> bool:
    """Return whether the argument is a tensor that can have a gradient."""
    return isinstance(argument, Tensor) and argument.is_floating_point()


def _strided(tensor: Tensor) -> Tensor:
    return torch.stack([tensor, tensor], dim=-1)[..., 0]


def normal(*shape: int, seed: int = 0) -> Tensor:
    """Return normally distributed float64 values that depend on nothing but the arguments."""
    generator = torch.Generator().manual_seed(seed + sum(31**i * size for i, size in enumerate(shape)))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def rms_norm_problems() -> list[Problem]:
    """Return problems of rms_norm and add_rms_norm, in float64."""
    x, residual, weight = normal(2, 3, 5), normal(2, 3, 5, seed=1), normal(5)
    return [
        Problem("weight", rms_norm.OPERATOR, (x, weight, 1e-6, 0.0)),
        Problem("weight offset", rms_norm.OPERATOR, (x, weight, 1e-2, 1.0)),
        Problem("no weight", rms_norm.OPERATOR, (x, None, 1e-6, 0.5)),
        Problem("one row", rms_norm.OPERATOR, (normal(5), weight, 1e-6, 0.0)),
        Problem("weight", add_rms_norm.OPERATOR, (x, residual, weight, 1e-6, 1.0)),
        Problem("no weight", add_rms_norm.OPERATOR, (x, residual, None, 1e-6, 0.0)),
    ]


def activation_problems() -> list[Problem]:
    """Return problems of gelu and geglu, in float64."""
    x, up, bias = normal(2, 6), normal(2, 6, seed=1), normal(6)
    problems = [Problem("scalar", gelu.OPERATOR, (normal(), None, 0))]
    for code, form in enumerate(gelu.FORMS):
        problems += [
            Problem(form, gelu.OPERATOR, (x, None, code)),
            Problem(f"{form} bias", gelu.OPERATOR, (x, bias, code)),
            Problem(form, geglu.OPERATOR, (x, up, code, True)),
            Problem(f"{form} packed", geglu.OPERATOR, (x, None, code, True)),
            Problem(f"{form} packed, up first", geglu.OPERATOR, (x, None, code, False)),
        ]
    return problems


def sdpa_problem(
    name: str,
    *,
    heads: tuple[int, int] = (2, 1),
    lengths: tuple[int, int] = (3, 4),
    mask: Tensor | None = None,
    sinks: Tensor | None = None,
    causal: int = 0,
    scale: float | None = None,
    window: tuple[int | None, int | None] = (None, None),
    softcap: float | None = None,
    deterministic: bool = False,
    batches: tuple[int, int, int] = (2, 2, 2),
) -> Problem:
    """Return an attention problem with head_dim 2 and value_dim 3, in float64; batches of q, k and v."""
    (query_heads, kv_heads), (query_length, key_length) = heads, lengths
    q = normal(batches[0], query_heads, query_length, 2)
    k = normal(batches[1], kv_heads, key_length, 2, seed=1)
    v = normal(batches[2], kv_heads, key_length, 3, seed=2)
    return Problem(name, sdpa.OPERATOR, (q, k, v, mask, sinks, causal, scale, *window, softcap, deterministic))


def sdpa_problems() -> list[Problem]:
    """Return attention problems, in float64."""
    hides_some = normal(1, 1, 3, 4) > -0.5
    hides_rows = torch.tensor([[True], [False], [True]])
    additive = normal(2, 3, 4)
    with_infinity = torch.where(normal(2, 1, 3, 4) > 0.7, -math.inf, normal(2, 1, 3, 4, seed=3))
    with_infinity[0, 0, 1] = -math.inf
    return [
        sdpa_problem("plain", heads=(2, 2)),
        sdpa_problem("grouped queries", heads=(4, 2), scale=0.4),
        sdpa_problem("one batch of keys and values", batches=(2, 1, 1), causal=1, sinks=normal(2)),
        sdpa_problem("one batch of queries", batches=(1, 2, 1), mask=normal(2, 1, 3, 4)),
        sdpa_problem("one KV head", heads=(3, 1), causal=1),
        sdpa_problem("causal", causal=1),
        sdpa_problem("upper left", causal=2),
        sdpa_problem("more queries than keys", lengths=(4, 2), causal=1),
        sdpa_problem("window", window=(1, 0)),
        sdpa_problem("half open window", window=(None, 0), causal=2),
        sdpa_problem("softcap", softcap=0.8),
        sdpa_problem("bool mask", mask=hides_some),
        sdpa_problem("bool mask of rows", mask=hides_rows),
        sdpa_problem("additive mask", mask=additive),
        sdpa_problem("additive mask of keys", mask=normal(2, 1, 1, 4)),
        sdpa_problem("additive mask with infinity", mask=with_infinity),
        sdpa_problem("scalar mask", mask=normal()),
        sdpa_problem("sinks", sinks=normal(2)),
        sdpa_problem("sinks of each entry", sinks=normal(2, 2)),
        sdpa_problem("hidden rows with sinks", sinks=normal(2), mask=hides_rows),
        sdpa_problem("all at once", mask=additive, sinks=normal(2), causal=1, window=(2, None), softcap=1.5, scale=0.9),
    ]


def sdpa_varlen_problem(
    name: str,
    *,
    heads: tuple[int, int] = (2, 1),
    lengths: tuple[tuple[int, int], ...] = ((2, 3), (1, 1), (3, 2)),
    sinks: Tensor | None = None,
    causal: int = 0,
    scale: float | None = None,
    window: tuple[int | None, int | None] = (None, None),
    softcap: float | None = None,
) -> Problem:
    """Return a problem of packed sequences with head_dim 2 and value_dim 3, in float64; lengths of queries and keys."""
    query_lengths, key_lengths = ([own[i] for own in lengths] for i in (0, 1))
    offsets = [torch.tensor([0, *ends]).cumsum(0).int() for ends in (query_lengths, key_lengths)]
    q = normal(sum(query_lengths), heads[0], 2)
    k, v = normal(sum(key_lengths), heads[1], 2, seed=1), normal(sum(key_lengths), heads[1], 3, seed=2)
    longest = (max(query_lengths, default=0), max(key_lengths, default=0) + 1)
    options = (*longest, causal, scale, *window, softcap, False)
    return Problem(name, sdpa_varlen.OPERATOR, (q, k, v, *offsets, sinks, *options))


def sdpa_varlen_problems() -> list[Problem]:
    """Return problems of packed sequences, in float64."""
    with_empty_ones = ((0, 2), (3, 4), (2, 0), (0, 0), (1, 1))
    return [
        sdpa_varlen_problem("plain", heads=(2, 2)),
        sdpa_varlen_problem("causal", heads=(4, 2), causal=1, lengths=with_empty_ones),
        sdpa_varlen_problem("upper left", causal=2, window=(1, 0), scale=0.4),
        sdpa_varlen_problem(
            "all at once", sinks=normal(2), causal=1, window=(2, None), softcap=0.8, lengths=with_empty_ones
        ),
    ]


def all_problems() -> list[Problem]:
    """Return the problems of every operator."""
    return [*rms_norm_problems(), *activation_problems(), *sdpa_problems(), *sdpa_varlen_problems()]
