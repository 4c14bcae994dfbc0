"""Causality and windows in the form in which backends take them."""

from __future__ import annotations

import operator
from typing import Any, Literal

Causal = bool | Literal["lower_right", "upper_left"]
Window = int | tuple[int | None, int | None] | None

_CAUSAL = {False: 0, True: 1, "lower_right": 1, "upper_left": 2}


def causal_code(causal: Causal) -> int:
    """Return the number of csrc/ops/sdpa.h's Causal."""
    if causal is False:
        return 0
    try:
        return _CAUSAL[causal]
    except (KeyError, TypeError):
        raise ValueError(f"causal must be a bool, 'lower_right' or 'upper_left', got {causal!r}") from None


def window_sides(window: Any) -> tuple[int | None, int | None]:
    """Return the window as (left, right). That no side is negative is checked with the rest."""
    if window is None:
        return None, None
    if isinstance(window, tuple | list):
        if len(window) != 2:
            raise ValueError(f"window must be an int or a pair (left, right), got {window!r}")
        return _window_side(window[0]), _window_side(window[1])
    width = _window_side(window)
    if width is not None and width < 1:
        raise ValueError(f"window must be at least 1, the number of keys that a query sees, got {window!r}")
    return (width if width is None else width - 1), 0


def _window_side(side: Any) -> int | None:
    if side is None:
        return None
    if isinstance(side, bool):
        raise TypeError(f"window must be made of ints or None, got {side!r}")
    try:
        return operator.index(side)
    except TypeError:
        raise TypeError(f"window must be made of ints or None, got {side!r}") from None
