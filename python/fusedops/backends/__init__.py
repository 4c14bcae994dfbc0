"""The frameworks whose arrays fusedops takes. Each is a module (or package) with the functions of `Backend`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from .plans import ArrayLayout


class Execution(NamedTuple):
    """How a backend runs the operators on an array."""

    path: str  # "metal", "cpu", "composite" or "none"
    reason: str  # what that is, and why nothing better runs


class Backend(Protocol):
    """What a framework's module provides. Arguments are positional and already in the form given here."""

    ARRAY_TYPE: type
    ARRAY_TYPE_NAME: str

    # Takes arrays. Returns whether a type of them, or a mode, takes the framework's functions over; None where there is
    # no such protocol, so that no time is spent on it.
    is_overridden: Callable[..., bool] | None

    def describe(self, array: Any, /) -> tuple[str, tuple[int, ...]]:
        """Return the dtype's name and the shape."""

    def layout(self, array: Any, /) -> ArrayLayout:
        """Return how the array lies in memory."""

    def execution(self, array: Any, /) -> Execution:
        """Return how operators on the array run."""

    def device(self, array: Any, /) -> str:
        """Return where the array lives; an empty string where arrays have no place of their own."""

    def kind(self, array: Any, /) -> str:
        """Return what kind of array it is, in words."""

    def gradients(self, operator: str, array: Any, /) -> str:
        """Return what computes an operator's gradients: "kernels", "composite" or "none"."""

    def refusal(self, array: Any, /) -> str | None:
        """Return what an array must be whose memory does not hold its values, or None where it does."""

    def override(self, function: Any, required: dict[str, Any], options: dict[str, Any], /) -> Any:
        """Call a public function by the framework's protocol for such types, where is_overridden().

        Returns NotImplemented where the function is to go on as if it were not.
        """

    def in_public_terms(self, arguments: dict[str, Any], /) -> dict[str, Any]:
        """Return an operator's arguments with what only this framework knows said as every backend takes it."""

    def is_tracing(self, *arguments: Any) -> bool:
        """Return whether these are traced, or Python code is: native functions cannot be called then."""

    def missing_memory(self, array: Any, /) -> str | None:
        """Return in words why the memory does not hold the array's elements; None where it does or is not known."""

    def known_integers(self, array: Any, /) -> list[int] | None:
        """Return the values of a one-dimensional array of integers, or None where that means to wait for a device."""

    def rms_norm(self, x: Any, weight: Any, residual: Any, eps: float, weight_offset: float, /) -> Any:
        """Return y, or (y, x + residual) with a residual."""

    def gelu(self, x: Any, bias: Any, approximate: str, /) -> Any:
        """Return gelu(x + bias)."""

    def geglu(self, gate: Any, up: Any, approximate: str, gate_first: bool, /) -> Any:
        """Return gelu(gate) * up; without `up`, `gate` holds both halves, the gate first or second."""

    def sdpa(
        self,
        q: Any,
        k: Any,
        v: Any,
        mask: Any,
        sinks: Any,
        causal: int,
        scale: float | None,
        window_left: int | None,
        window_right: int | None,
        softcap: float | None,
        deterministic: bool,
        return_lse: bool,
        /,
    ) -> Any:
        """Return out, or (out, logsumexp); `causal` is 0 (no), 1 (lower right) or 2 (upper left)."""

    def sdpa_varlen(
        self,
        q: Any,
        k: Any,
        v: Any,
        cu_seqlens_q: Any,
        cu_seqlens_k: Any,
        sinks: Any,
        max_seqlen_q: int,
        max_seqlen_k: int,
        causal: int,
        scale: float | None,
        window_left: int | None,
        window_right: int | None,
        softcap: float | None,
        deterministic: bool,
        return_lse: bool,
        /,
    ) -> Any:
        """Return out, or (out, logsumexp)."""


_backends: dict[type, Backend] = {}


def backend_of(array: object, name: str) -> Backend:
    """Return the backend of an array, given as the argument `name`; a TypeError where it is no array that we know."""
    backend = _backends.get(type(array))
    return backend if backend is not None else _find_backend(array, name)


def _find_backend(array: object, name: str) -> Backend:
    for base in type(array).__mro__:
        if base in _backends:
            return _backends[base]
        match (base.__module__, base.__name__):
            case ("torch", "Tensor") | ("torch.fx.proxy", "Proxy"):
                from . import torch as torch_backend

                return _register(torch_backend)
            case ("mlx.core", "array"):
                from . import mlx as mlx_backend

                return _register(mlx_backend)
            case ("numpy", "ndarray"):
                from . import numpy as numpy_backend

                return _register(numpy_backend)
            case ("fusedops.backends.plans", "ArrayLayout"):
                from . import plans

                return _register(plans)
    raise TypeError(f"{name} must be a torch.Tensor, an mlx.core.array or a numpy.ndarray, got {type(array).__name__}")


def _register(backend: Any) -> Backend:
    _backends[backend.ARRAY_TYPE] = backend
    registered: Backend = backend
    return registered
