"""Causality and windows in the form in which backends take them."""

from __future__ import annotations

from typing import Any, Literal

from fusedops.ops._errors import is_truth_value, shown
from fusedops.ops._integers import integer

Causal = bool | Literal["lower_right", "upper_left"]
Window = int | tuple[int | None, int | None] | None

_CAUSAL = {False: 0, True: 1, "lower_right": 1, "upper_left": 2}


def causal_code(causal: Causal) -> int:
    """Return the number of csrc/ops/sdpa.h's Causal."""
    if causal is False:
        return 0
    if is_truth_value(causal) or (isinstance(causal, str) and causal in _CAUSAL):
        return _CAUSAL[causal]
    raise ValueError(f"causal must be a bool, 'lower_right' or 'upper_left', got {shown(causal)}")


def window_sides(window: Any) -> tuple[int | None, int | None]:
    """Return the window as (left, right). That no side is negative is checked with the rest.

    Nothing here compares them: torch's tracers would compile anew for what the comparison told.
    """
    if window is None:
        return None, None
    if isinstance(window, tuple | list):
        if len(window) != 2:
            raise ValueError(f"window must be an int or a pair (left, right), got {shown(window)}")
        return _window_side(window[0]), _window_side(window[1])
    return _window_side(window) - 1, 0


def bad_width(window: Any) -> ValueError | None:
    """Return the error of a window that is a number and hides everything, or None where it is not so."""
    if window is None or isinstance(window, tuple | list):
        return None
    width = integer(window)
    if type(width) is not int or width >= 1 or width < -(2**63):  # the latter is said of every int
        return None
    return ValueError(f"window must be at least 1, the number of keys that a query sees, got {shown(window)}")


def _window_side(side: Any) -> Any:
    if side is None:
        return None
    try:
        return integer(side)
    except TypeError:
        raise TypeError(f"window must be made of ints or None, got {shown(side)}") from None
