"""GEGLU."""

from __future__ import annotations

from typing import Any, TypeVar

from fusedops import _core
from fusedops.backends import backend_of
from fusedops.ops._errors import bad_argument
from fusedops.ops.gelu import Approximate

Array = TypeVar("Array")


def geglu(gate: Array, up: Array | None = None, *, approximate: Approximate = "none") -> Array:
    """Return gelu(gate) * up, elementwise.

    Shazeer 2020, https://arxiv.org/abs/2002.05202. Computed in float32, rounded once.

    Args:
        gate: Array of float32, float16 or bfloat16, with any strides.
        up: Array of gate's shape and dtype. If None, gate's last dimension holds both halves: gate, then up.
        approximate: The form of GELU, as for fusedops.gelu.

    Returns:
        Array of up's shape (without `up`: gate's shape with its last dimension halved) and dtype, contiguous.

    Raises:
        TypeError: An argument is of another framework, device or dtype than it must be.
        ValueError: The shapes do not fit, gate cannot be halved or `approximate` is unknown.
    """
    backend = backend_of(gate, "gate")
    if backend.is_overridden(gate, up):
        overridden: Any = backend.override(geglu, {"gate": gate}, {"up": up, "approximate": approximate})
        if overridden is not NotImplemented:
            return overridden  # type: ignore[no-any-return]
    try:
        result: Array = backend.geglu(gate, up, approximate)
        return result
    except Exception:
        arrays = {"gate": gate, "up": up}
        if problem := bad_argument(backend, _core.check_geglu, arrays, {"approximate": approximate}, {"up"}):
            raise problem from None
        raise
