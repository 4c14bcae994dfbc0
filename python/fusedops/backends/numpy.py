"""numpy arrays, by the CPU executors. bfloat16 is taken where the ml_dtypes package provides it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusedops import _core
from fusedops.backends import Execution, plain
from fusedops.backends.plans import ArrayLayout
from fusedops.ops._errors import kind_of

Array = NDArray[Any]

ARRAY_TYPE = np.ndarray
ARRAY_TYPE_NAME = "numpy.ndarray"

is_overridden = None
in_public_terms = plain.in_public_terms
is_tracing = plain.is_tracing
missing_memory = plain.missing_memory


def describe(array: Array) -> tuple[str, tuple[int, ...]]:
    """Return the dtype's name and the shape; the name of a byte-swapped dtype is none that operators take."""
    if type(array) is not np.ndarray:
        _require_plain(array)
    dtype = array.dtype
    return dtype.name if dtype.isnative else f"{dtype.str} (foreign byte order)", array.shape


def layout(array: Array) -> ArrayLayout:
    """Return how the array lies in memory."""
    dtype, shape = describe(array)
    strides = tuple(stride // max(array.itemsize, 1) for stride in array.strides)
    return ArrayLayout(dtype, shape, strides, array.ctypes.data)


def execution(array: Array) -> Execution:
    """Return how operators on the array run: always on the CPU."""
    return Execution("cpu", f"fused C++ kernels ({_core.instruction_set()}, {_core.threads()} threads)")


def device(array: Array) -> str:
    """Return an empty string: numpy arrays have no device."""
    return ""


def kind(array: Array) -> str:
    """Return the type's name."""
    return ARRAY_TYPE_NAME if type(array) is np.ndarray else kind_of(array)


def gradients(operator: str, array: Array) -> str:
    """Return "none": numpy differentiates nothing."""
    return "none"


def refusal(array: Array) -> str | None:
    """Return what an array must be whose type means more than its memory holds, such as numbers that are not valid."""
    if isinstance(array, np.ma.MaskedArray):
        return f"must be a plain {ARRAY_TYPE_NAME}, got {kind_of(array)}: pass its filled(), or its mask as such"
    if type(array).__array_function__ is not np.ndarray.__array_function__:
        return f"must be a plain {ARRAY_TYPE_NAME}, got {kind_of(array)}, whose type has functions of its own"
    return None


def _require_plain(array: Array) -> None:
    if problem := refusal(array):
        raise TypeError(problem)


def known_integers(array: Array) -> list[int]:
    """Return the values of an array of integers."""
    return [int(value) for value in array]


def _describe_optional(array: Array | None) -> tuple[str, tuple[int, ...]] | None:
    return None if array is None else describe(array)


def _native(array: Array) -> Array:
    """Return the array in a form that the native module reads: bfloat16 as the uint16 that holds its bits.

    Fields of records, and views of bytes, may lie at any address; a copy does not.
    """
    if not array.flags.aligned:
        array = array.copy()
    return array.view(np.uint16) if array.dtype.name == "bfloat16" else array


def _native_optional(array: Array | None) -> Array | None:
    return None if array is None else _native(array)


def rms_norm(x: Array, weight: Array | None, residual: Array | None, eps: float, weight_offset: float) -> Any:
    """See fusedops.rms_norm."""
    _core.check_rms_norm(describe(x), _describe_optional(weight), _describe_optional(residual), eps, weight_offset)
    y = np.empty(x.shape, x.dtype)
    total = None if residual is None else np.empty(x.shape, residual.dtype)
    _core.rms_norm(
        _native(x),
        _native_optional(weight),
        _native_optional(residual),
        eps,
        weight_offset,
        _native(y),
        _native_optional(total),
    )
    return y if total is None else (y, total)


def gelu(x: Array, bias: Array | None, approximate: str) -> Array:
    """See fusedops.gelu."""
    _core.check_gelu(describe(x), _describe_optional(bias), approximate)
    y = np.empty(x.shape, x.dtype)
    _core.gelu(_native(x), _native_optional(bias), approximate, _native(y))
    return y


def geglu(gate: Array, up: Array | None, approximate: str, gate_first: bool) -> Array:
    """See fusedops.geglu."""
    _core.check_geglu(describe(gate), _describe_optional(up), approximate, gate_first)
    shape = gate.shape if up is not None else (*gate.shape[:-1], gate.shape[-1] // 2)
    y = np.empty(shape, gate.dtype)
    _core.geglu(_native(gate), _native_optional(up), approximate, gate_first, _native(y))
    return y


def sdpa(
    q: Array,
    k: Array,
    v: Array,
    mask: Array | None,
    sinks: Array | None,
    causal: int,
    scale: float | None,
    window_left: int | None,
    window_right: int | None,
    softcap: float | None,
    deterministic: bool,
    return_lse: bool,
) -> Any:
    """See fusedops.sdpa."""
    options = (causal, scale, window_left, window_right, softcap, deterministic)
    _core.check_sdpa(
        describe(q), describe(k), describe(v), _describe_optional(mask), _describe_optional(sinks), *options
    )
    batch = q.shape[0]
    if batch == 1:  # which serves all
        batch = k.shape[0] if k.shape[0] != 1 else v.shape[0]
    out = np.empty((batch, *q.shape[1:3], v.shape[3]), q.dtype)
    logsumexp = np.empty((batch, *q.shape[1:3]), np.float32) if return_lse else None
    _core.sdpa(
        _native(q),
        _native(k),
        _native(v),
        _native_optional(mask),
        _native_optional(sinks),
        *options,
        _native(out),
        logsumexp,
    )
    return (out, logsumexp) if return_lse else out


def sdpa_varlen(
    q: Array,
    k: Array,
    v: Array,
    cu_seqlens_q: Array,
    cu_seqlens_k: Array,
    sinks: Array | None,
    max_seqlen_q: int,
    max_seqlen_k: int,
    causal: int,
    scale: float | None,
    window_left: int | None,
    window_right: int | None,
    softcap: float | None,
    deterministic: bool,
    return_lse: bool,
) -> Any:
    """See fusedops.sdpa_varlen."""
    options = (max_seqlen_q, max_seqlen_k, causal, scale, window_left, window_right, softcap, deterministic)
    _core.check_sdpa_varlen(
        describe(q),
        describe(k),
        describe(v),
        describe(cu_seqlens_q),
        describe(cu_seqlens_k),
        _describe_optional(sinks),
        *options,
    )
    out = np.empty((*q.shape[:2], v.shape[2]), q.dtype)
    logsumexp = np.empty((q.shape[1], q.shape[0]), np.float32) if return_lse else None
    _core.sdpa_varlen(
        _native(q),
        _native(k),
        _native(v),
        _native(cu_seqlens_q),
        _native(cu_seqlens_k),
        _native_optional(sinks),
        *options,
        _native(out),
        logsumexp,
    )
    return (out, logsumexp) if return_lse else out
