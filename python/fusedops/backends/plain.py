"""What backends say whose arrays are plain memory, and whose frameworks nobody traces in Python."""

from __future__ import annotations

from typing import Any


def refusal(array: Any) -> str | None:
    """Return None: every array is what it holds."""
    return None


def missing_memory(array: Any) -> str | None:
    """Return None: an array's memory is there as long as the array."""
    return None


def in_public_terms(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments as they are."""
    return arguments


def is_tracing(*arguments: Any) -> bool:
    """Return False: nothing traces Python code here."""
    return False
