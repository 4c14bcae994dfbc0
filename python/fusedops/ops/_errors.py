"""What went wrong, in the caller's terms.

Frameworks report a bad argument in their own ways (PyTorch's dispatcher turns every C++ exception into a RuntimeError,
nanobind lists overloads), so an operator that failed checks its arguments once more, all of them, with the validation
that every backend shares. Nothing is checked twice while all is well.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Collection, Mapping
from typing import Any

from fusedops.backends import Backend


def bad_argument(
    backend: Backend,
    check: Callable[..., None],
    arrays: Mapping[str, Any],
    options: Mapping[str, Any],
    optional: Collection[str],
) -> ValueError | TypeError | None:
    """Return the error that names the first bad argument, or None where the arguments are not at fault.

    Args:
        backend: The first array's backend.
        check: The operator's validation in fusedops._core; it takes the described arrays, then the options.
        arrays: The array arguments by name.
        options: The other arguments by name, of the types that `check` takes.
        optional: The names of those that may be None.
    """
    if backend.is_tracing(*arrays.values(), *options.values()):
        return None  # what was raised is the fake kernel's error, which names the argument
    try:
        described = [
            None if array is None and name in optional else _describe(backend, name, array)
            for name, array in arrays.items()
        ]
        _same_device(backend, arrays)
        for name, value in options.items():
            _require_64_bits(name, value)
        check(*described, *map(_readable, options.values()))
        for name, array in arrays.items():
            if array is not None and (fault := backend.missing_memory(array)):
                raise ValueError(f"{name} must have memory for all its elements, got {fault}")
    except (TypeError, ValueError) as error:
        return error
    return None


_SYMBOLIC_NUMBERS = ("torch.SymInt", "torch.SymFloat")  # of dynamic shapes, when torch traces; it specialises them


def require_bool(name: str, value: Any) -> None:
    """Raise a TypeError where the value is no bool. Frameworks take other things for one, each in its own way."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, got {kind_of(value)}")


def is_truth_value(value: Any) -> bool:
    """Return whether the value is a bool, or numpy's, or one of the ints 0 and 1 that stand for them in Python."""
    return (isinstance(value, int) and value in (0, 1)) or kind_of(value) in ("numpy.bool", "numpy.bool_")


def as_number(backend: Backend, name: str, value: Any) -> float:
    """Return a real number of any kind as a float. Frameworks take other things for one, each in its own way.

    Hot calls ask whether the type is float before they come here. Bools are no numbers, nor are arrays of one element:
    these would be taken for constants, and get no gradient. But a numpy.float64 is such an array to torch.compile.
    """
    if kind_of(value) == "numpy.ndarray" and value.ndim == 0 and value.itemsize == 8 and backend.is_tracing():
        return float(value)
    is_real = isinstance(value, numbers.Real) and not isinstance(value, bool) and kind_of(value) != "numpy.timedelta64"
    if not is_real and kind_of(value) not in _SYMBOLIC_NUMBERS:
        why = ", which would get no gradient" if hasattr(value, "__dlpack__") else ""
        raise TypeError(f"{name} must be a number, got {kind_of(value)}{why}")
    try:
        number = float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    if number == 0 and value != 0:  # an exact number that no float is as small as
        return math.ulp(0.0) if value > 0 else -math.ulp(0.0)
    return number


def require_string(name: str, value: Any) -> None:
    """Raise a TypeError where the value is no string."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {kind_of(value)}")


def kind_of(value: Any) -> str:
    """Return the name of a value's type, with its module unless that is Python itself."""
    return f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")


def shown(value: Any) -> str:
    """Return a value's repr(). Python refuses to print ints of thousands of digits."""
    try:
        return repr(value)
    except ValueError:
        return f"{kind_of(value)} of too many digits to print"


def _describe(backend: Backend, name: str, array: Any) -> tuple[str, tuple[int, ...]]:
    if not isinstance(array, backend.ARRAY_TYPE):
        raise TypeError(f"{name} must be a {backend.ARRAY_TYPE_NAME} as the first array is, got {kind_of(array)}")
    if refusal := backend.refusal(array):
        raise TypeError(f"{name} {refusal}")
    return backend.describe(array)


def _same_device(backend: Backend, arrays: Mapping[str, Any]) -> None:
    present = {name: backend.device(array) for name, array in arrays.items() if array is not None}
    first, first_device = next(iter(present.items()))
    for name, device in present.items():
        if device != first_device:
            raise TypeError(f"{name} must be on {first}'s device, {first_device}, got {device}")


def _require_64_bits(name: str, value: Any) -> None:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        bound = "must not be below -2**63" if value < 0 else "must be below 2**63"
        raise ValueError(f"{name.removesuffix('_left').removesuffix('_right')} {bound}, got {shown(value)}")


def _readable(option: Any) -> Any:
    """Return an option fit for the native validation, which cannot read a string with lone surrogates."""
    return option.encode("utf-8", "backslashreplace").decode() if isinstance(option, str) else option
