"""How operators on DTensors may be sharded, for torch.distributed.tensor.

Each rule gives, for one dimension of the mesh, the placements of the outputs and of the tensor arguments that an
operator can be run with, each process on its own part. Everything replicated always works; DTensor picks the way that
moves the least.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch.distributed.tensor import Partial, Replicate, Shard
from torch.distributed.tensor.experimental import register_sharding

from .library import Operator

Placements = list[Any]
Split = tuple[Placements, Placements]  # of the outputs and of the tensor arguments, absent ones included
Rule = Callable[..., Iterator[Split]]


def rms_norm(x: Any, *_: Any) -> Iterator[Split]:
    """By rows."""
    for dim in range(x.ndim - 1):
        yield [Shard(dim), Shard(dim)], [Shard(dim), Replicate()]


def add_rms_norm(x: Any, *_: Any) -> Iterator[Split]:
    """By rows."""
    for dim in range(x.ndim - 1):
        yield [Shard(dim)] * 3, [Shard(dim), Shard(dim), Replicate()]


def rms_norm_backward(grad_y: Any, *_: Any) -> Iterator[Split]:
    """By rows; the weight's gradient is the sum over them."""
    for dim in range(grad_y.ndim - 1):
        yield [Shard(dim), Partial()], [Shard(dim)] * 4 + [Replicate()]


def gelu(x: Any, *_: Any) -> Iterator[Split]:
    """By elements; the bias goes with the last dimension."""
    for dim in range(x.ndim):
        yield [Shard(dim)], [Shard(dim), _of_bias(x, dim)]


def gelu_backward(grad_y: Any, *_: Any) -> Iterator[Split]:
    """By elements; the bias's gradient is a sum over all dimensions but the last."""
    for dim in range(grad_y.ndim):
        bias = _of_bias(grad_y, dim)
        yield [Shard(dim), Partial() if bias.is_replicate() else bias], [Shard(dim), Shard(dim), bias]


def _of_bias(x: Any, dim: int) -> Any:
    return Shard(0) if dim == x.ndim - 1 else Replicate()


def geglu(gate: Any, up: Any, *_: Any) -> Iterator[Split]:
    """By elements, but a packed gate has both halves in its last dimension."""
    for dim in range(gate.ndim if up is not None else gate.ndim - 1):
        yield [Shard(dim)], [Shard(dim), Shard(dim)]


def geglu_backward(_: Any, gate: Any, up: Any, *__: Any) -> Iterator[Split]:
    """As geglu; without `up`, its gradient is empty."""
    for dim in range(gate.ndim if up is not None else gate.ndim - 1):
        yield [Shard(dim), Replicate() if up is None else Shard(dim)], [Shard(dim)] * 3


def sdpa(q: Any, k: Any, v: Any, mask: Any, sinks: Any, *_: Any) -> Iterator[Split]:
    """By batch and by heads."""
    for dim in _attention_dims(q, k, v):
        yield [Shard(dim)] * 2, [*_of_queries_keys_values(q, k, v, dim), *_of_mask_and_sinks(mask, sinks, dim)]


def sdpa_backward(
    grad_out: Any, grad_logsumexp: Any, q: Any, k: Any, v: Any, mask: Any, sinks: Any, *_: Any
) -> Iterator[Split]:
    """As sdpa; what all parts share gets the sum of their gradients."""
    for dim in _attention_dims(q, k, v):
        inputs = [*_of_queries_keys_values(q, k, v, dim), *_of_mask_and_sinks(mask, sinks, dim)]
        yield [*map(_gradient_of, inputs)], [*[Shard(dim)] * 2, *inputs]


def _attention_dims(q: Any, k: Any, v: Any) -> Iterator[int]:
    if any(tensor.shape[0] > 1 for tensor in (q, k, v)):
        yield 0
    if _heads_stay_together(q, k):
        yield 1


def _of_queries_keys_values(q: Any, k: Any, v: Any, dim: int) -> Placements:
    """Return their placements; a batch of one serves all parts."""
    return [Shard(dim) if dim else _where_it_counts(tensor, dim) for tensor in (q, k, v)]


def _heads_stay_together(q: Any, k: Any) -> bool:
    """Return whether query heads and their KV head come to the same process, by whatever dimensions of the mesh."""
    query_heads, kv_heads = q.shape[1], k.shape[1]
    sizes = q.mesh.shape
    counts = {math.prod(chosen) for n in range(len(sizes) + 1) for chosen in itertools.combinations(sizes, n)}
    # With less heads than processes they are not sharded at all.
    return query_heads == kv_heads or all(kv_heads % count == 0 for count in counts if count <= kv_heads)


def _of_mask_and_sinks(mask: Any, sinks: Any, dim: int) -> Placements:
    """Return their placements where attention is sharded by dimension 0 or 1 of its (B, Hq, Lq, Lk) scores."""
    of_mask = Replicate() if mask is None else _where_it_counts(mask, dim + mask.ndim - 4)
    of_sinks = Replicate() if sinks is None else _where_it_counts(sinks, dim + sinks.ndim - 2)
    return [of_mask, of_sinks]


def _where_it_counts(tensor: Any, dim: int) -> Any:
    """Return a sharding by that dimension, unless the tensor is broadcast along it."""
    return Shard(dim) if dim >= 0 and tensor.shape[dim] > 1 else Replicate()


def _gradient_of(placement: Any) -> Any:
    return Partial() if placement.is_replicate() else placement


def sdpa_varlen(q: Any, k: Any, *_: Any) -> Iterator[Split]:
    """By heads."""
    if _heads_stay_together(q, k):
        yield [Shard(1), Shard(0)], [*[Shard(1)] * 3, Replicate(), Replicate(), Shard(0)]


def sdpa_varlen_backward(_: Any, __: Any, q: Any, k: Any, *___: Any) -> Iterator[Split]:
    """By heads."""
    if _heads_stay_together(q, k):
        inputs = [Shard(1), Shard(0), *[Shard(1)] * 3, Replicate(), Replicate(), Shard(0)]
        yield [*[Shard(1)] * 3, Shard(0)], inputs


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        *(rms_norm, add_rms_norm, rms_norm_backward, gelu, gelu_backward, geglu, geglu_backward),
        *(sdpa, sdpa_backward, sdpa_varlen, sdpa_varlen_backward),
    )
}


def register(operators: Sequence[Operator], namespace: Any) -> None:
    """Tell DTensor the rules of all operators and of their gradients."""
    for operator in operators:
        for name in (operator.name, f"{operator.name}_inference"):
            _register(getattr(namespace, name).default, RULES[operator.name])
        if operator.fused_backward is not None:
            _register(operator.fused_backward.overload, RULES[operator.fused_backward.name])


def _register(overload: Any, rule: Rule) -> None:
    schema = overload._schema
    is_tensor = [str(argument.type) in ("Tensor", "Optional[Tensor]") for argument in schema.arguments]

    def shardings(*arguments: Any) -> list[Split]:
        def split(outputs: Placements, tensors: Placements) -> Split:
            placements = iter(tensors)
            inputs = [next(placements) if tensor else None for tensor in is_tensor]
            absent = (argument is None for argument in arguments)
            present = [None if missing else place for missing, place in zip(absent, inputs, strict=True)]
            return list(outputs[: len(schema.returns)]), present

        replicated = [Replicate()] * len(schema.returns), [Replicate()] * sum(is_tensor)
        return [split(*each) for each in (replicated, *rule(*arguments))]

    register_sharding(overload)(shardings)
