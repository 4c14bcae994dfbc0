"""Carries out fusedops' plans on numpy arrays: the same kernels, geometry and parameters that a Mac would be given."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import ml_dtypes  # noqa: F401  so that numpy knows bfloat16 by its name
import numpy as np
from numpy.typing import NDArray

from .run.arguments import AtOffset, bytes_at
from .run.launch import BoundLaunch
from .run.library import Library, build

if TYPE_CHECKING:
    from fusedops import _core

    from .cuda import CudaLibrary

Array = NDArray[Any]

VECTOR_BYTES = 16  # Metal's buffers start where any vector may; a view's offset tells how its elements are aligned


@functools.cache
def checked_library(text: str) -> Library:
    """Return the simulator's build of a launch, with all checks on."""
    return build(text, check=True)


def run_plan(
    plan: _core.Plan,
    inputs: Sequence[Array | None],
    *,
    library: Callable[[str], Library | CudaLibrary] = checked_library,
    **schedule: Any,
) -> list[Array]:
    """Run a plan and return its outputs.

    Args:
        plan: From an operator called with layouts (fusedops.backends.plans) of the inputs.
        inputs: The operator's array arguments in their order, None where absent; any strides.
        library: Compiles the text of a launch.
        schedule: For Library.run: order, seed.

    Raises:
        SimulatorError: A kernel's mistakes.
    """
    launches, outputs = bind_plan(plan, inputs)
    for launch in launches:
        launch.on(library(launch.text).run, **schedule)
    return outputs


def bind_plan(plan: _core.Plan, inputs: Sequence[Array | None]) -> tuple[list[BoundLaunch], list[Array]]:
    """Return a plan's launches with all their buffers, and the outputs, which hold NaN until the launches have run.

    Args:
        plan: As of run_plan.
        inputs: As of run_plan; they are copied.
    """
    outputs = [_poisoned(dtype, shape) for dtype, shape in plan.outputs]
    by_role: dict[str, list[Any]] = {
        "INPUT": [None if array is None else _memory(array) for array in inputs],
        "OUTPUT": outputs,
        "SCRATCH": [_poisoned(dtype, shape) for dtype, shape in plan.scratch],
    }
    launches = [
        BoundLaunch(
            text=launch.text,
            kernel=launch.name,
            buffers=dict(enumerate([*(by_role[b.role.name][b.index] for b in launch.buffers), launch.parameters])),
            threadgroups=launch.threadgroups,
            threads_per_threadgroup=launch.threads_per_threadgroup,
        )
        for launch in plan.launches
    ]
    return launches, [
        memory[: _byte_count(dtype, shape)].view(np.dtype(dtype)).reshape(shape)
        for memory, (dtype, shape) in zip(outputs, plan.outputs, strict=True)
    ]


def _memory(array: Array) -> AtOffset:
    """Return a copy of the memory that an array spans, at the offset of its first element.

    The copy starts at a multiple of a vector, as a buffer does, and ends with the array: what lies beyond is out of
    bounds.
    """
    address = array.ctypes.data
    if array.size == 0:
        return AtOffset(np.zeros(VECTOR_BYTES, np.uint8), 0)
    steps = [(extent - 1) * stride for extent, stride in zip(array.shape, array.strides, strict=True)]
    below = -sum(step for step in steps if step < 0)
    above = sum(step for step in steps if step > 0) + array.itemsize
    padding = (address - below) % VECTOR_BYTES
    memory = np.zeros(padding + below + above, np.uint8)
    memory[padding:] = bytes_at(address - below, below + above)
    return AtOffset(memory, padding + below)


def _poisoned(dtype: str, shape: Sequence[int]) -> Array:
    """Return memory of NaN, of at least one vector: Metal has no empty buffers."""
    return np.full(max(_byte_count(dtype, shape), VECTOR_BYTES), 0xFF, np.uint8)


def _byte_count(dtype: str, shape: Sequence[int]) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize
