"""How an operator gets into torch.ops.fusedops, with everything that torch wants to know about it."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from fusedops import _torch

from .modes import inference_suffices
from .on_import import on_import
from .tensors import refusal, require_memory

NAMESPACE = "fusedops"
AUTOCAST_DEVICES = ("cpu", "cuda", "mps", "xpu")

Library: Any = torch.library.Library  # its methods carry no types
Outputs = tuple[Tensor, ...]


def saved_tensors(ctx: Any) -> Any:
    """Return what a composite of gradients was left. Once only: hooks may compute it anew, as checkpointing does."""
    tensors = ctx.saved_tensors
    require_memory(tensors)
    return tensors


@dataclass
class Backward:
    """An operator's gradients as an operator of its own, which has no gradient itself.

    Attributes:
        name: In torch.ops.fusedops.
        arguments: The schema's arguments.
        returns: The names of the outputs, all Tensors; empty ones where there is nothing to differentiate by.
        fake: Takes the arguments; makes outputs of the right shapes, dtypes and device without computing them.
        call: Takes what `Operator.backward` does, and returns what that does, computed by this operator.
        composite: Takes the arguments, computes the outputs with torch's own operators where there is no native kernel.
            Without one, `Operator.backward` is what runs there.
    """

    name: str
    arguments: str
    returns: tuple[str, ...]
    fake: Callable[..., Outputs]
    call: Callable[..., tuple[Tensor | None, ...]]
    composite: Callable[..., Outputs] | None = None

    @property
    def overload(self) -> Any:
        """The operator in torch.ops.fusedops, once it is registered."""
        return getattr(getattr(torch.ops, NAMESPACE), self.name).default

    def has_kernel(self, device_type: str) -> bool:
        """Return whether there is a native kernel for tensors of that device, once all are registered."""
        return _has_kernel(f"{NAMESPACE}::{self.name}", device_type)

    def checked_composite(self, *arguments: Any) -> Outputs:
        """Compute the outputs with torch's own operators."""
        assert self.composite is not None
        require_memory(arguments)
        return self.composite(*arguments)

    def runs_on(self, device_type: str) -> bool:
        """Return whether the operator takes tensors of that device."""
        return self.composite is not None or self.has_kernel(device_type)


@functools.cache
def _has_kernel(name: str, device_type: str) -> bool:
    try:
        return bool(torch._C._dispatch_has_kernel_for_dispatch_key(name, device_type.upper()))
    except RuntimeError:  # there is no dispatch key of the device's name
        return False


@dataclass
class Operator:
    """One operator. Functions take its arguments in the schema's order, and return all its outputs as a tuple.

    It is registered twice: under its name with autograd, and as `<name>_inference` without, returning only the first
    `inference_returns` outputs. Python's autograd costs several microseconds a call even if nothing needs gradients.

    Attributes:
        name: In torch.ops.fusedops.
        arguments: The schema's arguments.
        returns: The names of the outputs, all Tensors.
        inference_returns: How many of them inference needs.
        check: Raises the ValueError or TypeError that names a bad argument.
        fake: Makes outputs of the right shapes, dtypes and device, contiguous, without computing them.
        composite: Computes the outputs with torch's own operators; runs wherever there is no kernel.
        setup_context: As torch.library.register_autograd takes it; `output` is a Tensor where there is only one.
        backward: As torch.library.register_autograd takes it.
        vmap: Called as vmap(variant, batch_size, in_dims, *arguments), where `variant` is the one of the two that was
            called, returning a tuple; returns its outputs (more are dropped) with the mapped dimension in front.
        autocast: Called as autocast(device_type, *arguments) under torch.autocast; returns the arguments as that wants
            them. None leaves them alone.
        fused_backward: The operator that computes the gradients where those need none themselves.
    """

    name: str
    arguments: str
    returns: tuple[str, ...]
    inference_returns: int
    check: Callable[..., None]
    fake: Callable[..., Outputs]
    composite: Callable[..., Outputs]
    setup_context: Callable[..., None]
    backward: Callable[..., tuple[Tensor | None, ...]]
    vmap: Callable[..., Outputs]
    autocast: Callable[..., tuple[Any, ...]] | None = None
    fused_backward: Backward | None = None

    def __post_init__(self) -> None:
        """Make `function`: torch.func sees through an autograd.Function, not through a registered gradient."""
        operator = self

        class Function(torch.autograd.Function):
            generate_vmap_rule = True
            setup_context = staticmethod(operator.setup_context)
            backward = staticmethod(operator.precise_backward)

            @staticmethod
            def forward(*arguments: Any) -> Any:
                return operator.overload(*arguments)

        self.function: Any = Function

    @property
    def overload(self) -> Any:
        """The operator with autograd in torch.ops.fusedops, once it is registered."""
        return getattr(getattr(torch.ops, NAMESPACE), self.name).default

    def checked_composite(self, *arguments: Any) -> Outputs:
        """Validate the arguments and compute the outputs with torch's own, differentiable operators."""
        device_type = arguments[0].device.type
        if self.autocast and device_type in AUTOCAST_DEVICES and torch.is_autocast_enabled(device_type):
            arguments = self.autocast(device_type, *arguments)
        self._validate(arguments)
        require_memory(arguments)
        with _without_autocast(device_type):
            return self.composite(*arguments)

    def precise_backward(self, ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        """Run `backward` in the precision that it chooses, even where it is called under torch.autocast."""
        device_type = cotangents[0].device.type
        cotangents = _of_one_type(cotangents)
        with _without_autocast(device_type):
            # Gradients are enabled here where a second derivative is wanted.
            fused = self.fused_backward
            if fused and fused.runs_on(device_type) and not torch.is_grad_enabled() and inference_suffices():
                return fused.call(ctx, *cotangents)
            require_memory(cotangents)
            return self.backward(ctx, *cotangents)

    def checked_fake(self, *arguments: Any) -> Outputs:
        """Validate the arguments as far as their sizes are known and make the outputs without computing them."""
        self._validate(arguments)
        return self.fake(*arguments)

    def _validate(self, arguments: Sequence[Any]) -> None:
        if torch.compiler.is_dynamo_compiling():
            return  # the native validation cannot be traced
        tensors = [argument for argument in arguments if isinstance(argument, Tensor)]
        for tensor in tensors:
            if problem := refusal(tensor):
                raise TypeError(f"a tensor {problem}")
            if tensor.device != tensors[0].device:
                raise TypeError(f"all tensors must be on {tensors[0].device}, got one on {tensor.device}")
        if not any(map(is_symbolic, arguments)):
            self.check(*arguments)


def is_symbolic(argument: Any) -> bool:
    """Return whether a number, or a tensor's size, is a tracer's symbol."""
    if isinstance(argument, Tensor):
        return not argument.is_nested and not all(isinstance(size, int) for size in argument.shape)
    return isinstance(argument, torch.SymInt)


def describe(tensor: Tensor) -> tuple[str, tuple[int, ...]]:
    """Return the dtype's name and the shape."""
    return str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)


def describe_optional(tensor: Tensor | None) -> tuple[str, tuple[int, ...]] | None:
    """Return what describe() does, or None."""
    return None if tensor is None else describe(tensor)


def compute_dtype(tensor: Tensor) -> torch.dtype:
    """Return what composites compute in: float32. Only tests of their formulas use float64."""
    return torch.promote_types(tensor.dtype, torch.float32)


def rounded(gradient: Tensor | None, like: Tensor | None, needed: bool) -> Tensor | None:
    """Return the gradient in the dtype of the argument that it belongs to, or None where it is not needed."""
    return gradient.to(like.dtype) if needed and gradient is not None and like is not None else None


def batch_first(tensor: Tensor, dim: int | None, batch_size: int) -> Tensor:
    """Return the tensor with the dimension that vmap maps in front; stride 0 where it is not mapped."""
    return tensor.expand(batch_size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def rowwise(parameter: Tensor, x: Tensor) -> Tensor:
    """Return an (N, C) parameter, one row for each entry of x's first dimension, so that it broadcasts against x.

    That is what a weight or bias becomes when vmap maps it: more than the operators take, but composites do.
    """
    return torch.unflatten(parameter, 0, (parameter.shape[0], *(1,) * (x.dim() - 2)))


def autocast_to(dtype: torch.dtype, tensor: Tensor) -> Tensor:
    """Return the tensor as torch.autocast casts arguments: float64 and integers stay what they are."""
    return tensor.to(dtype) if tensor.is_floating_point() and tensor.dtype != torch.float64 else tensor


def to_widest_dtype(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return the tensors in one dtype, the one that torch's own operators would promote them to."""
    dtype = functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
    return tuple(tensor.to(dtype) for tensor in tensors)


def _of_one_type(cotangents: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the cotangents with zeros of the others' type where autograd has made plain ones for unused outputs.

    DTensors are computed with none but DTensors.
    """
    wrapper: Any = next(filter(is_traceable_wrapper_subclass, cotangents), None)
    if wrapper is None:
        return cotangents
    return tuple(
        cotangent
        if is_traceable_wrapper_subclass(cotangent)
        else wrapper.new_zeros(cotangent.shape, dtype=cotangent.dtype)
        for cotangent in cotangents
    )


def _without_autocast(device_type: str) -> contextlib.AbstractContextManager[Any]:
    return torch.autocast(device_type, enabled=False) if device_type in AUTOCAST_DEVICES else contextlib.nullcontext()


def register(operators: Sequence[Operator]) -> None:
    """Define the operators and their kernels, once in a process: a reloaded module finds them there."""
    namespace = getattr(torch.ops, NAMESPACE)
    if "library" in vars(namespace):
        return
    suffix = "dylib" if sys.platform == "darwin" else "so"
    _torch.load(str(Path(torch.__file__).parent / "lib" / f"libtorch_cpu.{suffix}"))
    library = Library(NAMESPACE, "DEF")
    for operator in operators:
        _define(library, operator, operator.name, len(operator.returns))
        name = f"{NAMESPACE}::{operator.name}"
        backward, setup_context = operator.precise_backward, operator.setup_context
        torch.library.register_autograd(name, backward, setup_context=setup_context, lib=library)
        _define(library, operator, f"{operator.name}_inference", operator.inference_returns)
    # Operators may share one of gradients.
    for backward_kernel in {
        op.fused_backward.name: op.fused_backward for op in operators if op.fused_backward
    }.values():
        _define_backward(library, backward_kernel)
    _torch.register_cpu_kernels()
    if _torch.has_mps():
        _torch.register_mps_kernels()
    namespace.library = library  # the operators live as long as it does
    on_import("torch.utils.flop_counter", _register_flops)
    on_import("torch.distributed.tensor", lambda: _register_sharding(operators))


def _register_flops() -> None:
    from . import flops

    flops.register(getattr(torch.ops, NAMESPACE))


def _register_sharding(operators: Sequence[Operator]) -> None:
    from . import sharding

    sharding.register(operators, getattr(torch.ops, NAMESPACE))


def _define(library: Any, operator: Operator, name: str, return_count: int) -> None:
    returns = ", ".join(f"Tensor {output}" for output in operator.returns[:return_count])
    library.define(f"{name}({operator.arguments}) -> ({returns})", tags=(torch.Tag.pt2_compliant_tag,))
    overload = getattr(getattr(torch.ops, NAMESPACE), name).default

    def returned(outputs: Outputs) -> Tensor | Outputs:
        return outputs[0] if return_count == 1 else outputs[:return_count]

    def composite(*arguments: Any) -> Tensor | Outputs:
        return returned(operator.checked_composite(*arguments))

    def fake(*arguments: Any) -> Tensor | Outputs:
        return returned(operator.checked_fake(*arguments))

    def variant(*arguments: Any) -> Outputs:
        result = overload(*arguments)
        return (result,) if return_count == 1 else result

    def vmap(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Tensor | Outputs, int]:
        return returned(operator.vmap(variant, info.batch_size, in_dims, *arguments)), 0

    library.impl(name, composite, "CompositeExplicitAutograd")
    torch.library.register_fake(f"{NAMESPACE}::{name}", fake, lib=library)
    torch.library.register_vmap(f"{NAMESPACE}::{name}", vmap, lib=library)
    if operator.autocast is not None:
        for device_type in AUTOCAST_DEVICES:
            _register_autocast(library, name, overload, operator.autocast, device_type)


def _define_backward(library: Any, kernel: Backward) -> None:
    returns = ", ".join(f"Tensor {output}" for output in kernel.returns)
    library.define(f"{kernel.name}({kernel.arguments}) -> ({returns})", tags=(torch.Tag.pt2_compliant_tag,))
    torch.library.register_fake(f"{NAMESPACE}::{kernel.name}", kernel.fake, lib=library)
    if kernel.composite is not None:
        library.impl(kernel.name, kernel.checked_composite, "CompositeExplicitAutograd")


def _register_autocast(
    library: Any,
    name: str,
    overload: Callable[..., Any],
    autocast: Callable[..., tuple[Any, ...]],
    device_type: str,
) -> None:
    """Register the kernel that torch.autocast runs instead; outside of it, it costs nothing."""

    def kernel(*arguments: Any) -> Any:
        with _without_autocast(device_type):
            return overload(*autocast(device_type, *arguments))

    library.impl(name, kernel, f"Autocast{device_type.upper()}")
