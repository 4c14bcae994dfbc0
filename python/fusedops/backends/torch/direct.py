"""Direct calls: an operator's CPU kernel without torch's dispatcher, where nobody can tell but by the clock.

The dispatcher and the boxing of arguments for it take longer than a small operator does. In a thread without modes,
transforms, tracing or a profiler, and on plain tensors in the CPU's memory of which no gradient is wanted, all that
they do is to call the kernel.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from fusedops import _torch

from .library import Operator
from .modes import forward_ad_active


@dataclass(frozen=True)
class Checks:
    """What must not be: functions that return something false where a call may be direct."""

    thread: tuple[Callable[[], Any], ...]
    """Whether something beside the kernel would see what this thread calls. Whether torch functions are overridden, by
    modes or types, was asked before."""
    autocast: tuple[Callable[[], Any], ...]
    """The same for operators that torch.autocast changes."""
    tensor: tuple[Callable[[Tensor], Any], ...]
    """Whether a tensor's memory is not what it means, or cannot be looked at without copying it."""


def _find_checks() -> Checks | None:
    functions: Any = torch._C
    tensor: Any = Tensor
    try:
        return Checks(
            thread=(
                functions._len_torch_dispatch_stack,
                functions._are_functorch_transforms_active,
                functions._is_tracing,
                functions._autograd._profiler_enabled,
                forward_ad_active,
            ),
            autocast=(functions._is_any_autocast_enabled,),
            tensor=(
                tensor.is_neg,
                functions._is_cow_tensor,
                *([tensor.has_names] if hasattr(tensor, "has_names") else []),
            ),
        )
    except AttributeError:  # in some other torch
        return None


_CHECKS = _find_checks()


def _set_up() -> bool:
    exchange_api = getattr(Tensor, "__dlpack_c_exchange_api__", None)
    if exchange_api is None or _CHECKS is None:
        return False
    tensor_types = (Tensor, torch.nn.Parameter)
    empty_contiguous_like = functools.partial(torch.empty_like, memory_format=torch.contiguous_format)
    return _torch.set_up_direct_calls(
        exchange_api, tensor_types, _CHECKS.tensor, torch.is_grad_enabled, torch.empty_like, empty_contiguous_like
    )


_AVAILABLE = _set_up()


def function(operator: Operator) -> Callable[..., Any]:
    """Return a function that takes the operator's arguments and returns what its inference variant does.

    It returns None wherever the call is not as this module says, or fails: that is then the dispatcher's. torch.compile
    cannot look into it.
    """
    if not _AVAILABLE or _CHECKS is None:
        return _never
    types = [argument.rsplit(" ", 1)[0] for argument in operator.arguments.split(", ")]
    checks = _CHECKS.thread + (_CHECKS.autocast if operator.autocast else ())
    direct = _torch.direct_function(f"{operator.name}_inference", types, operator.inference_returns, checks)
    return cast(Callable[..., Any], direct)


def _never(*_: Any) -> None:
    return None
