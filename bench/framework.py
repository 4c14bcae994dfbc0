"""What the benchmark needs of a framework on one device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, ClassVar

import numpy as np

from bench.cases import Case, Sdpa

EPS = 1e-6
MAX_SCORE_BYTES = 2**30

KERNEL = "kernel"
"""The implementation that is fusedops' kernel alone."""

Implementation = Callable[..., Any]
"""Takes the arrays of Case.shapes in order; gives the output, or a tuple of them."""


class Framework(ABC):
    """Arrays, implementations, and waiting for the device."""

    name: ClassVar[str]
    """The framework, and the implementation that is its own operator: "torch" or "mlx"."""

    def __init__(self, device: str) -> None:
        """`device` is one of bench.devices.DEVICES."""
        self.device = device
        self.on_cpu = device in ("cpu", "mlx-cpu")
        # A GPU needs longer samples: the wait at the end of each idles it, and it starts slowly.
        self.sample_seconds = 1e-3 if self.on_cpu else 1e-2

    def without_gradients(self) -> AbstractContextManager[object]:
        """To be entered around everything else."""
        return nullcontext()

    @abstractmethod
    def array(self, values: np.ndarray, dtype: str) -> Any:
        """The float32 `values` on the device, rounded to `dtype` ("f32", "f16" or "bf16")."""

    @abstractmethod
    def to_numpy(self, array: Any) -> np.ndarray:
        """`array` as float32."""

    @abstractmethod
    def implementations(self, case: Case, compiled: bool) -> dict[str, Implementation]:
        """All that can run `case`, by name: "fusedops", the framework's own, and composites written by hand.

        `compiled` adds the framework's own through the framework's compiler.
        """

    @abstractmethod
    def run(self, call: Callable[[], Any], repeats: int, lazy: bool = False) -> None:
        """Calls that many times and waits until the device has done it all; `lazy`: without evaluating."""

    @abstractmethod
    def copy(self, array: Any) -> Any:
        """Reads all of `array` and writes as much."""

    @abstractmethod
    def device_name(self) -> str | None:
        """The GPU's name, where the framework tells it."""

    def results(self, implementation: Implementation, arrays: Sequence[Any]) -> list[np.ndarray]:
        """What one call gives, as float32."""
        outputs = implementation(*arrays)
        return [self.to_numpy(output) for output in (outputs if isinstance(outputs, tuple) else (outputs,))]

    def timed(self, implementation: Implementation, *arrays: Any, lazy: bool = False) -> Callable[[int], None]:
        """`implementation` as bench.timing takes it."""
        call = partial(implementation, *arrays)
        return lambda repeats: self.run(call, repeats, lazy)


def of_sum(norm: Implementation) -> Implementation:
    """The norm of x + residual by two operators, with the sum."""

    def add_and_norm(x: Any, weight: Any, residual: Any) -> tuple[Any, Any]:
        total = x + residual
        return norm(total, weight), total

    return add_and_norm


def scores_fit(case: Sdpa) -> bool:
    """Whether a composite may store the float32 scores of all heads."""
    return 4 * case.batch * case.query_heads * case.query_length * case.key_length <= MAX_SCORE_BYTES


def open_framework(device: str) -> Framework:
    """Imports only the framework that `device` belongs to."""
    if device.startswith("mlx"):
        from bench.mlx_implementations import Mlx

        return Mlx(device)
    from bench.torch_implementations import Torch

    return Torch(device)
