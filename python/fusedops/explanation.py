"""What would run, and why."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import fusedops
from fusedops import _core
from fusedops.backends import Backend, Execution, backend_of, plans

_GRADIENTS = {
    "rms_norm": "recomputed by a composite of the framework's operations",
    "gelu": "computed by a composite of the framework's operations",
    "geglu": "computed by a composite of the framework's operations",
    "sdpa": "recomputed by a composite of the framework's operations, which stores all scores: O(Lq Lk) memory",
    "sdpa_varlen": "recomputed by a composite of the framework's operations, which pads the sequences to the longest "
    "lengths and stores all scores: O(sequences max_seqlen_q max_seqlen_k) memory",
}
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class Explanation:
    """How a call would be carried out; its str() says it in words.

    Attributes:
        operator: The operator's name.
        arrays: Kind of the arrays and their device, in words.
        execution: How it runs here: path is "metal", "cpu", "composite" or "none"; reason says why.
        plan: What an Apple GPU runs for these arrays: kernels, geometry, scratch memory, and why (its description).
    """

    operator: str
    arrays: str
    execution: Execution
    plan: _core.Plan

    def __str__(self) -> str:
        """Return the explanation in words."""
        path, reason = self.execution
        lines = [f"fusedops.{self.operator} on {self.arrays}: {path}, {reason}."]
        lines.append("On Metal:" if path == "metal" else "An Apple GPU would run:")
        lines += [f"  {line}" for line in _plan_in_words(self.plan)]
        lines.append(f"Gradients are {_GRADIENTS[self.operator]}.")
        return "\n".join(lines)


def explain(operator: str | Callable[..., Any], *args: Any, **kwargs: Any) -> Explanation:
    """Return which backend and kernels would run a call, with what tiles, and why no fused one where that is so.

    Nothing is computed. print(fusedops.explain("sdpa", q, k, v, causal=True)) says it in words.

    Args:
        operator: "sdpa", "sdpa_varlen", "rms_norm", "gelu" or "geglu", or one of these functions.
        args: The operator's arguments.
        kwargs: The operator's keyword arguments.

    Returns:
        The explanation. MLX does not tell the strides of an array before it is evaluated; its arrays are taken to be
        contiguous.

    Raises:
        TypeError: As the operator raises it.
        ValueError: As the operator raises it, or there is no such operator.
    """
    name = operator if isinstance(operator, str) else getattr(operator, "__name__", repr(operator))
    if name not in _GRADIENTS:
        raise ValueError(f"operator must be one of {', '.join(_GRADIENTS)}, got {name}")
    first = args[0] if args else next(iter(kwargs.values()), None)
    backend = backend_of(first, "the first argument")
    try:
        plan = getattr(fusedops, name)(
            *(_layout(backend, value) for value in args),
            **{option: _layout(backend, value) for option, value in kwargs.items()},
        )
    except TypeError as error:  # which speaks of layouts, that the caller knows nothing of
        raise TypeError(str(error).replace(plans.ARRAY_TYPE_NAME, backend.ARRAY_TYPE_NAME)) from None
    device = backend.device(first)
    arrays = f"{backend.ARRAY_TYPE_NAME}{f' ({device})' if device else ''}"
    return Explanation(name, arrays, backend.execution(first), plan)


def _layout(backend: Backend, argument: Any) -> Any:
    return backend.layout(argument) if isinstance(argument, backend.ARRAY_TYPE) else argument


def _plan_in_words(plan: _core.Plan) -> list[str]:
    if not plan.launches:
        return ["nothing: every result is empty"]
    lines = [_launch_in_words(launch) for launch in plan.launches] + plan.description
    if plan.scratch:
        scratch_bytes = sum(_BYTES[dtype] * math.prod(shape) for dtype, shape in plan.scratch)
        lines.append(f"scratch memory: {scratch_bytes:,} bytes")
    return lines


def _launch_in_words(launch: _core.Launch) -> str:
    instance = f"{launch.kernel}<{', '.join(launch.template_arguments)}>"
    threadgroups = " x ".join(map(str, launch.threadgroups))
    threads = " x ".join(map(str, launch.threads_per_threadgroup))
    return f"{instance} of metal/{launch.source}.metal: {threadgroups} threadgroups of {threads} threads"
