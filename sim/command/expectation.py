"""The --expect option: a buffer compared with a numpy expression of the inputs."""

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import SimulatorError
from .buffers import Array, Buffer

# A few roundings of each type; a kernel with long sums needs --tolerance.
_TOLERANCES = {"float32": 1e-5, "float16": 2e-3, "bfloat16": 2e-2}


@dataclass
class Expectation:
    """What buffer `index` should hold; an error is relative to the element or, if larger, to the mean magnitude."""

    index: int
    values: Array
    tolerance: float

    def compare(self, buffer: Buffer) -> tuple[bool, str]:
        """Whether the buffer is as expected, and a line that says how near it is."""
        got, expected = buffer.values().astype(np.float64), self.values
        with np.errstate(invalid="ignore"):
            magnitude = np.abs(expected)
            mean = np.mean(magnitude, where=np.isfinite(magnitude)) if np.isfinite(magnitude).any() else 0.0
            error = np.abs(got - expected) / np.maximum(magnitude, mean or 1.0)
        same = (got == expected) | (np.isnan(got) & np.isnan(expected))
        near = same | (error <= self.tolerance)
        if near.all():
            largest = np.max(error, where=~same, initial=0.0)
            return True, f"buffer {self.index} is as expected: error {largest:.2g}, tolerance {self.tolerance:g}"
        first = tuple(int(i) for i in np.argwhere(~near)[0])
        what = f"{(~near).sum()} of {near.size} elements are not as expected (tolerance {self.tolerance:g})"
        return False, f"buffer {self.index}: {what}; at {list(first)}: {got[first]:.7g}, expected {expected[first]:.7g}"


def parse_expectations(
    texts: Sequence[str], buffers: Sequence[Buffer], tolerance: float | None, modules: Sequence[str]
) -> list[Expectation]:
    """Evaluate every `INDEX: EXPRESSION` on the buffers as they are. SimulatorError: what is wrong with one."""
    names: dict[str, Any] = {"np": np, "erf": np.vectorize(math.erf, otypes=[np.float64])}
    names |= {f"b{buffer.index}": buffer.values() for buffer in buffers}
    by_index = {buffer.index: buffer for buffer in buffers}
    expectations = []
    for text in texts:
        index, colon, expression = text.partition(":")
        if not colon or not index.strip().isdigit() or int(index) not in by_index:
            raise SimulatorError(f"--expect {text}: expected 'INDEX: EXPRESSION' with the index of a buffer")
        buffer = by_index[int(index)]
        try:
            names |= {module: importlib.import_module(module) for module in modules}
            values = np.asarray(eval(expression.strip(), names), np.float64)
            values = np.broadcast_to(values, buffer.data.shape)
        except Exception as error:
            raise SimulatorError(f"--expect {text}: {type(error).__name__}: {error}") from error
        limit = _TOLERANCES.get(buffer.dtype, 0.0) if tolerance is None else tolerance
        expectations.append(Expectation(buffer.index, values, limit))
    return expectations
