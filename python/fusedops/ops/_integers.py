"""Integers as callers give them."""

from __future__ import annotations

import operator
from typing import Any

from fusedops.ops._errors import kind_of


def integer(value: Any) -> int:
    """Return an int, or a torch.SymInt as it is: asking that for its value would bind a traced graph to it.

    Arrays without dimensions are read, by item(), which torch's tracers turn into a symbol, too.

    Raises:
        TypeError: It is no integer.
    """
    if type(value) is int or _is_symbolic(value):
        return value  # type: ignore[no-any-return]
    if isinstance(value, bool) or kind_of(value) == "numpy.timedelta64":
        raise TypeError(kind_of(value))
    if getattr(value, "ndim", None) == 0:
        read: Any = value.item()
        if isinstance(read, bool) or not (isinstance(read, int) or _is_symbolic(read)):
            raise TypeError(type(read).__name__)
        return read  # type: ignore[no-any-return]
    return operator.index(value)


def _is_symbolic(value: Any) -> bool:
    return kind_of(value) == "torch.SymInt"
