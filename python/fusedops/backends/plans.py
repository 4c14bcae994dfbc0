"""Layouts in place of arrays: an operator called with them returns its Metal plan, and computes nothing.

So whatever asks for a plan (explain, the simulator, tests) goes through the public functions, with their handling of
options and their errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fusedops import _core
from fusedops.backends import Execution, plain


@dataclass(frozen=True)
class ArrayLayout:
    """How an array lies in memory."""

    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in elements
    byte_offset: int = 0  # of the first element, from an address that a whole vector may start at


Layout = tuple[str, tuple[int, ...], tuple[int, ...], int]

ARRAY_TYPE = ArrayLayout
ARRAY_TYPE_NAME = "fusedops.backends.plans.ArrayLayout"

is_overridden = None
in_public_terms = plain.in_public_terms
is_tracing = plain.is_tracing
missing_memory = plain.missing_memory
refusal = plain.refusal


def describe(array: ArrayLayout) -> tuple[str, tuple[int, ...]]:
    """Return the dtype's name and the shape."""
    return array.dtype, array.shape


def layout(array: ArrayLayout) -> ArrayLayout:
    """Return the array, which is its own layout."""
    return array


def execution(array: ArrayLayout) -> Execution:
    """Return that nothing runs."""
    return Execution("none", "a layout has no values: nothing runs")


def device(array: ArrayLayout) -> str:
    """Return an empty string: layouts have no device."""
    return ""


def kind(array: ArrayLayout) -> str:
    """Return the type's name."""
    return ARRAY_TYPE_NAME


def gradients(operator: str, array: ArrayLayout) -> str:
    """Return "none"."""
    return "none"


def _native(array: ArrayLayout) -> Layout:
    return array.dtype, array.shape, array.strides, array.byte_offset


def _native_optional(array: ArrayLayout | None) -> Layout | None:
    return None if array is None else _native(array)


def rms_norm(
    x: ArrayLayout, weight: ArrayLayout | None, residual: ArrayLayout | None, eps: float, weight_offset: float
) -> _core.Plan:
    """Return the plan of fusedops.rms_norm."""
    return _core.plan_rms_norm(_native(x), _native_optional(weight), _native_optional(residual), eps, weight_offset)


def gelu(x: ArrayLayout, bias: ArrayLayout | None, approximate: str) -> _core.Plan:
    """Return the plan of fusedops.gelu."""
    return _core.plan_gelu(_native(x), _native_optional(bias), approximate)


def geglu(gate: ArrayLayout, up: ArrayLayout | None, approximate: str, gate_first: bool) -> _core.Plan:
    """Return the plan of fusedops.geglu."""
    return _core.plan_geglu(_native(gate), _native_optional(up), approximate, gate_first)


def sdpa(
    q: ArrayLayout,
    k: ArrayLayout,
    v: ArrayLayout,
    mask: ArrayLayout | None,
    sinks: ArrayLayout | None,
    *options: Any,
) -> _core.Plan:
    """Return the plan of fusedops.sdpa; the options are those of Backend.sdpa."""
    arrays = (_native(q), _native(k), _native(v), _native_optional(mask), _native_optional(sinks))
    return _core.plan_sdpa(*arrays, *options)


def known_integers(array: ArrayLayout) -> None:
    """Return None: layouts have no values."""


def sdpa_varlen(
    q: ArrayLayout,
    k: ArrayLayout,
    v: ArrayLayout,
    cu_seqlens_q: ArrayLayout,
    cu_seqlens_k: ArrayLayout,
    sinks: ArrayLayout | None,
    *options: Any,
) -> _core.Plan:
    """Return the plan of fusedops.sdpa_varlen; the options are those of Backend.sdpa_varlen."""
    offsets = (_native(cu_seqlens_q), _native(cu_seqlens_k))
    return _core.plan_sdpa_varlen(_native(q), _native(k), _native(v), *offsets, _native_optional(sinks), *options)
