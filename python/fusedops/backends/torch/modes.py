"""Which variant of an operator a call needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

if TYPE_CHECKING:
    from .library import Operator


def inference_suffices(*tensors: Tensor | None) -> bool:
    """Return whether nobody can ask for a derivative of the result."""
    if torch._C._are_functorch_transforms_active() or forward_ad_active():
        return False
    if torch.is_grad_enabled():
        for tensor in tensors:
            if tensor is not None and tensor.requires_grad:
                return False
    return True


def differentiable(operator: Operator, *arguments: Any) -> Any:
    """Call the variant that the transforms now active can differentiate; return all outputs as the schema does."""
    functorch_active = torch._C._are_functorch_transforms_active()
    # A custom operator would drop tangents, and torch.compile cannot look into `function`.
    if forward_ad_active() or (functorch_active and torch.compiler.is_dynamo_compiling()):
        outputs = operator.checked_composite(*arguments)
        return outputs[0] if len(outputs) == 1 else outputs
    return operator.function.apply(*arguments) if functorch_active else operator.overload(*arguments)


def forward_ad_active() -> bool:
    """Return whether there are dual tensors, whose tangents operators must pass on."""
    return forward_ad._current_level >= 0
