"""GELU."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

from fusedops import _core
from fusedops.backends import backend_of
from fusedops.ops._errors import bad_argument, require_string

Array = TypeVar("Array")
Approximate = Literal["none", "tanh", "sigmoid"]


def gelu(x: Array, *, approximate: Approximate = "none", bias: Any = None) -> Array:
    """Return gelu(x + bias), elementwise.

    Hendrycks & Gimpel 2016, https://arxiv.org/abs/1606.08415. Computed in float32, rounded once; zero, and not NaN, at
    minus infinity (within 1e-33).

    Args:
        x: Array of float32, float16 or bfloat16 of any shape, with any strides.
        approximate: "none" for x Phi(x), "tanh" for 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x**3))), "sigmoid" for
            x sigmoid(1.702 x).
        bias: (C,) array of any of these dtypes, C being x's last dimension; or None.

    Returns:
        Array of x's shape and dtype, contiguous.

    Raises:
        TypeError: An argument is of another framework, device or dtype than it must be.
        ValueError: bias's shape does not fit or `approximate` is unknown.
    """
    backend = backend_of(x, "x")
    if backend.is_overridden and backend.is_overridden(x, bias):
        overridden: Any = backend.override(gelu, {"x": x}, {"approximate": approximate, "bias": bias})
        if overridden is not NotImplemented:
            return overridden  # type: ignore[no-any-return]
    try:
        result: Array = backend.gelu(x, bias, approximate)
        return result
    except Exception:
        require_string("approximate", approximate)
        arrays = {"x": x, "bias": bias}
        if problem := bad_argument(backend, _core.check_gelu, arrays, {"approximate": approximate}, {"bias"}):
            raise problem from None
        raise
