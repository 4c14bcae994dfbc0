"""Which variant of an operator a call needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch._C._functorch import TransformType
from torch.autograd import forward_ad

if TYPE_CHECKING:
    from .library import Operator


def inference_suffices(*tensors: Tensor | None) -> bool:
    """Return whether nobody can ask for a derivative of the result."""
    if torch._C._are_functorch_transforms_active() or forward_ad_active():
        return False
    if not torch.compiler.is_dynamo_compiling() and torch._C._is_tracing():
        return False  # what torch.jit traces is for every use, and is checked against a trace without gradients
    if torch.is_grad_enabled():
        for tensor in tensors:
            if tensor is not None and tensor.requires_grad:
                return False
    return True


def differentiable(operator: Operator, *arguments: Any) -> Any:
    """Call the variant that the transforms now active can differentiate; return all outputs as the schema does."""
    functorch_active = torch._C._are_functorch_transforms_active()
    # A custom operator would drop tangents, and torch.compile cannot look into `function`.
    composite = forward_ad_active() or (functorch_active and torch.compiler.is_dynamo_compiling())
    if functorch_active and not composite:
        transforms = {interpreter.key() for interpreter in torch._C._functorch.get_interpreter_stack()}
        if TransformType.Functionalize not in transforms:
            return operator.function.apply(*arguments)
        composite = not transforms.isdisjoint((TransformType.Grad, TransformType.Jvp))  # `function` has no rule for it
    if composite:
        outputs = operator.checked_composite(*arguments)
        return outputs[0] if len(outputs) == 1 else outputs
    return operator.overload(*arguments)


def forward_ad_active() -> bool:
    """Return whether there are dual tensors, whose tangents operators must pass on."""
    return forward_ad._current_level >= 0
