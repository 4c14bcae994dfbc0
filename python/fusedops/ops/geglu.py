"""GEGLU."""

from __future__ import annotations

from typing import Any, TypeVar

from fusedops import _core
from fusedops.backends import backend_of
from fusedops.ops._errors import bad_argument, require_bool, require_string
from fusedops.ops.gelu import Approximate

Array = TypeVar("Array")


def geglu(gate: Array, up: Array | None = None, *, approximate: Approximate = "none", gate_first: bool = True) -> Array:
    """Return gelu(gate) * up, elementwise.

    Shazeer 2020, https://arxiv.org/abs/2002.05202. Computed in float32, rounded once.

    Args:
        gate: Array of float32, float16 or bfloat16, with any strides.
        up: Array of gate's shape and dtype. If None, gate's last dimension holds both halves.
        approximate: The form of GELU, as for fusedops.gelu.
        gate_first: Whether, of both halves in one array, the first is the gate. Diffusers' GEGLU, whose projection
            holds what is multiplied first, needs False.

    Returns:
        Array of up's shape (without `up`: gate's shape with its last dimension halved) and dtype, contiguous.

    Raises:
        TypeError: An argument is of another framework, device or dtype than it must be.
        ValueError: The shapes do not fit, gate cannot be halved, `approximate` is unknown, or gate_first is False
            with `up`.
    """
    backend = backend_of(gate, "gate")
    if backend.is_overridden and backend.is_overridden(gate, up):
        given = {"up": up, "approximate": approximate, "gate_first": gate_first}
        overridden: Any = backend.override(geglu, {"gate": gate}, given)
        if overridden is not NotImplemented:
            return overridden  # type: ignore[no-any-return]
    if type(gate_first) is not bool:
        require_bool("gate_first", gate_first)
    try:
        result: Array = backend.geglu(gate, up, approximate, gate_first)
        return result
    except Exception:
        require_string("approximate", approximate)
        arrays = {"gate": gate, "up": up}
        options = {"approximate": approximate, "gate_first": gate_first}
        if problem := bad_argument(backend, _core.check_geglu, arrays, options, {"up"}):
            raise problem from None
        raise
