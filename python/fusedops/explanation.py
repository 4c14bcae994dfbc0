"""What would run, and why."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import fusedops
from fusedops import _core
from fusedops.backends import Backend, Execution, backend_of, plans

_ARRAYS = {  # the parameters that are arrays, the first of which picks the backend
    "rms_norm": ("x", "weight", "residual"),
    "gelu": ("x", "bias"),
    "geglu": ("gate", "up"),
    "sdpa": ("q", "k", "v", "mask", "sinks"),
    "sdpa_varlen": ("q", "k", "v", "cu_seqlens_q", "cu_seqlens_k", "sinks"),
}
_COST_OF_COMPOSITES = {
    "sdpa": ", which stores all scores: O(Lq Lk) memory",
    "sdpa_varlen": ", which pads the sequences (to the longest of similar length where the offsets are known) and "
    "stores all scores: O(sequences max_seqlen_q max_seqlen_k) memory",
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
        gradients: What computes the gradients, in a sentence.
    """

    operator: str
    arrays: str
    execution: Execution
    plan: _core.Plan
    gradients: str

    def __str__(self) -> str:
        """Return the explanation in words."""
        path, reason = self.execution
        lines = [f"fusedops.{self.operator} on {self.arrays}: {path}, {reason}."]
        lines.append("On Metal:" if path == "metal" else "An Apple GPU would run:")
        lines += [f"  {line}" for line in _plan_in_words(self.plan)]
        lines.append(self.gradients)
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
    if name not in _ARRAYS:
        raise ValueError(f"operator must be one of {', '.join(_ARRAYS)}, got {name}")
    function = getattr(fusedops, name)
    arguments: dict[str, Any] = inspect.signature(function).bind(*args, **kwargs).arguments
    first_name = _ARRAYS[name][0]
    first = arguments[first_name]
    backend = backend_of(first, first_name)
    arguments = backend.in_public_terms(arguments)
    try:
        plan = function(**{key: _layout(backend, name, key, value) for key, value in arguments.items()})
    except TypeError as error:  # which speaks of layouts, that the caller knows nothing of
        raise TypeError(str(error).replace(plans.ARRAY_TYPE_NAME, backend.ARRAY_TYPE_NAME)) from None
    device = backend.device(first)
    arrays = f"{backend.kind(first)}{f' ({device})' if device else ''}"
    return Explanation(name, arrays, backend.execution(first), plan, _gradients(name, backend, first))


def _layout(backend: Backend, operator: str, name: str, argument: Any) -> Any:
    """Return an array's layout, or what is no array; integers that lie in arrays are read."""
    if not isinstance(argument, backend.ARRAY_TYPE) or name in ("max_seqlen_q", "max_seqlen_k", "window"):
        return argument
    if name in _ARRAYS[operator] and (problem := backend.refusal(argument)):
        raise TypeError(f"{name} {problem}")
    if fault := backend.missing_memory(argument):
        raise ValueError(f"{name} must have memory for all its elements, got {fault}")
    return backend.layout(argument)


def _gradients(operator: str, backend: Backend, first: Any) -> str:
    computed_by = backend.gradients(operator, first)
    if computed_by == "none":
        return f"There are no gradients of a {backend.ARRAY_TYPE_NAME}."
    if computed_by == "kernels":
        return "Gradients are computed by fused kernels, their own by a composite of the framework's operations."
    cost = _COST_OF_COMPOSITES.get(operator, "")
    return f"Gradients are recomputed by a composite of the framework's operations{cost}."


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
