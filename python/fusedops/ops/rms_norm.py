"""RMSNorm."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from fusedops import _core
from fusedops.backends import backend_of
from fusedops.ops._errors import as_number, bad_argument

Array = TypeVar("Array")


_FLOAT32_EPSILON = 2.0**-23


@overload
def rms_norm(x: Array, weight: Any = None, eps: float | None = 1e-6, *, weight_offset: float = 0.0) -> Array: ...
@overload
def rms_norm(
    x: Array, weight: Any = None, eps: float | None = 1e-6, *, residual: Array, weight_offset: float = 0.0
) -> tuple[Array, Array]: ...
def rms_norm(
    x: Any, weight: Any = None, eps: float | None = 1e-6, *, residual: Any = None, weight_offset: float = 0.0
) -> Any:
    """Return x * rsqrt(mean(x**2) + eps) * (weight + weight_offset), the mean over the last dimension.

    Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467. Squares are summed in float32; the result is rounded once.

    Args:
        x: (..., C) array of float32, float16 or bfloat16, with any strides.
        weight: (C,) array of any of these dtypes, or None for ones.
        eps: Added to the mean of the squares; not negative. None stands for float32's epsilon, 2**-23, whatever x's
            dtype. With 0, a row of zeros gives NaN.
        residual: Array of x's shape, and of x's dtype or float32. x + residual, rounded to the residual's dtype, is
            then what is normalised.
        weight_offset: Added to the weight in float32 (1.0 for Gemma's norm). Without a weight, the weight is 1.

    Returns:
        y of x's shape and dtype, contiguous; with a residual the pair (y, x + residual), the latter in the residual's
        dtype.

    Raises:
        TypeError: An argument is of another framework, device or dtype than it must be, or an array and no number.
        ValueError: A shape or a number is out of range.
    """
    backend = backend_of(x, "x")
    if backend.is_overridden and backend.is_overridden(x, weight, residual):
        options = {"weight": weight, "eps": eps, "residual": residual, "weight_offset": weight_offset}
        if (overridden := backend.override(rms_norm, {"x": x}, options)) is not NotImplemented:
            return overridden
    if type(eps) is not float:
        eps = _FLOAT32_EPSILON if eps is None else as_number(backend, "eps", eps)
    if type(weight_offset) is not float:
        weight_offset = as_number(backend, "weight_offset", weight_offset)
    try:
        return backend.rms_norm(x, weight, residual, eps, weight_offset)
    except Exception:
        arrays = {"x": x, "weight": weight, "residual": residual}
        options = {"eps": eps, "weight_offset": weight_offset}
        if problem := bad_argument(backend, _core.check_rms_norm, arrays, options, {"weight", "residual"}):
            raise problem from None
        raise
