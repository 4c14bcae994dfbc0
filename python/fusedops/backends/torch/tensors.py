"""Kinds of tensors: which hold their values in plain memory, and how types that mean something else are called."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import handle_torch_function

from fusedops.ops._errors import kind_of

PLAIN_TYPES = (Tensor, torch.nn.Parameter, torch.nn.Buffer)


def refusal(tensor: Tensor) -> str | None:
    """Return what a tensor must be whose memory operators cannot read, or None where they can."""
    if tensor.is_nested:
        return "must be a plain tensor, got a nested one: pass its packed values and offsets to fusedops.sdpa_varlen"
    if tensor.layout is not torch.strided:
        return f"must be strided, got a tensor of layout {tensor.layout}: pass its to_dense()"
    if type(tensor) in PLAIN_TYPES:
        return None
    if is_causal_bias(tensor):
        return "must hold numbers, got a CausalBias: fusedops.sdpa alone takes that, as its mask"
    if type(tensor).__module__.startswith("torch.masked."):
        return f"must be a plain tensor, got {kind_of(tensor)}: pass its to_tensor(value)"
    return None


def missing_memory(tensor: Tensor) -> str | None:
    """Return in words why a plain tensor's storage does not hold its elements (FSDP frees storages), or None."""
    is_wrapper = torch._C._functorch.is_functorch_wrapped_tensor(tensor) or not torch._C._has_storage(tensor)
    if type(tensor) not in PLAIN_TYPES or is_wrapper or tensor.numel() == 0:
        return None
    last = tensor.storage_offset() + sum(
        (extent - 1) * stride for extent, stride in zip(tensor.shape, tensor.stride(), strict=True)
    )
    needed, held = (last + 1) * tensor.element_size(), tensor.untyped_storage().nbytes()
    if needed <= held:
        return None
    return f"a tensor whose storage was freed or made smaller: it holds {held} bytes of {needed}"


def require_memory(values: Iterable[Any]) -> None:
    """Raise a RuntimeError, as kernels do, where a tensor's storage was freed: torch's own operations might read it."""
    for value in values:
        if isinstance(value, Tensor) and (fault := missing_memory(value)):
            raise RuntimeError(f"tensors must have memory for all their elements, got {fault}")


def has_values(tensor: Tensor) -> bool:
    """Return whether the values of a tensor can be looked at without waiting, and will be the same in every call."""
    return (
        type(tensor) in PLAIN_TYPES
        and tensor.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and not torch._C._are_functorch_transforms_active()
        and not torch._C._is_tracing()
        and torch._C._len_torch_dispatch_stack() == 0
        and not missing_memory(tensor)
    )


def kind(tensor: Tensor) -> str:
    """Return what kind of tensor it is, and what part of it this process has."""
    if type(tensor) in PLAIN_TYPES:
        return "torch.Tensor"
    if not type(tensor).__module__.startswith("torch.distributed.tensor"):
        return kind_of(tensor)
    sharded: Any = tensor
    placements = ", ".join(map(str, sharded.placements))
    own = tuple(sharded.to_local().shape)
    return f"{kind_of(tensor)} placed as {placements}, of which this process holds {own}, each computing its part"


def is_fake(tensor: Tensor) -> bool:
    """Return whether a tensor has a shape but no values."""
    return tensor.device.type == "meta" or type(tensor).__name__ in ("FakeTensor", "FunctionalTensor")


def is_causal_bias(value: Any) -> bool:
    """Return whether it is one of torch.nn.attention.bias, which stands for a mask and has no memory that means it."""
    return any(base.__module__ == "torch.nn.attention.bias" for base in type(value).__mro__)


def in_public_terms(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return an operator's arguments with `causal` in the place of a CausalBias as the mask."""
    bias: Any = arguments.get("mask")
    if not is_causal_bias(bias):
        return arguments
    if arguments.get("causal", False) is not False:
        raise ValueError(f"causal must be False where mask is a CausalBias, got {arguments['causal']!r}")
    lengths = arguments["q"].shape[-2], arguments["k"].shape[-2]
    if (bias.seq_len_q, bias.seq_len_kv) != lengths:
        got = f"({bias.seq_len_q}, {bias.seq_len_kv})"
        raise ValueError(f"mask must broadcast to (B, Hq, Lq, Lk) with lengths {lengths}, got a CausalBias of {got}")
    return {**arguments, "mask": None, "causal": bias.variant.name.lower()}


def _require_readable(arguments: dict[str, Any]) -> None:
    """Raise the TypeError that names a tensor which operators cannot read. Nobody is asked what the tensor says."""
    with torch._C.DisableTorchFunction():
        for name, value in arguments.items():
            if isinstance(value, Tensor) and (problem := refusal(value)):
                raise TypeError(f"{name} {problem}")


def override(function: Callable[..., Any], required: dict[str, Any], options: dict[str, Any]) -> Any:
    """Call a public function as torch calls its own where types or modes override them, by __torch_function__.

    Returns NotImplemented where torch.compile traces: it asks the types itself, in every operation that it meets.
    """
    arguments = in_public_terms({**required, **options})
    if torch.compiler.is_dynamo_compiling():
        return function(**arguments) if is_causal_bias(options.get("mask")) else NotImplemented
    _require_readable(arguments)
    positional = tuple(arguments[name] for name in required)
    keywords = {name: arguments[name] for name in options}
    return handle_torch_function(function, tuple(arguments.values()), *positional, **keywords)
