"""What a launch takes, in the forms that the runners on the processor and on CUDA share."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import SimulatorError

ORDERS = ("forward", "reverse", "random")
MAXIMUM_BUFFERS = 31

Array = NDArray[Any]


class AtOffset(NamedTuple):
    """An array bound at a byte offset, as setBuffer takes it: the kernel may use what lies before as well."""

    array: Array
    byte_offset: int


class InPlace(NamedTuple):
    """Memory that a kernel reads where it lies, not copied, not guarded: for views that span more than memory holds."""

    address: int


Buffer = Array | AtOffset | InPlace | np.generic | bytes | bytearray | None
Extent = Sequence[int]


def indexed(
    buffers: Sequence[Buffer] | Mapping[int, Buffer],
) -> Iterator[tuple[int, Array | InPlace | np.generic | bytes | bytearray, int]]:
    """The bound buffers with their indices and byte offsets. ValueError: an index beyond Metal's limit."""
    pairs = buffers.items() if isinstance(buffers, Mapping) else enumerate(buffers)
    for index, buffer in pairs:
        if not 0 <= index < MAXIMUM_BUFFERS:
            raise ValueError(f"buffers: expected indices from 0 to {MAXIMUM_BUFFERS - 1}, got {index}")
        if isinstance(buffer, AtOffset):
            yield index, *buffer
        elif buffer is not None:
            yield index, buffer, 0


def contiguous(buffer: Array | np.generic | bytes | bytearray) -> Array:
    """The buffer's bytes as an array, which may be the buffer itself."""
    if isinstance(buffer, bytes | bytearray):
        return np.frombuffer(buffer, np.uint8)
    return np.ascontiguousarray(buffer)


def grid(
    threadgroups: Extent | None, threads: Extent | None, threads_per_threadgroup: Extent
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The threads of the grid and of a threadgroup, three numbers each. ValueError: not exactly one grid is given."""
    if (threadgroups is None) == (threads is None):
        raise ValueError("expected either threadgroups or threads")
    threadgroup = _three(threads_per_threadgroup)
    if threads is not None:
        return _three(threads), threadgroup
    return tuple(a * b for a, b in zip(_three(threadgroups or ()), threadgroup, strict=True)), threadgroup


def _three(extent: Extent) -> tuple[int, ...]:
    if not 1 <= len(extent) <= 3 or any(n < 0 for n in extent):
        raise ValueError(f"expected one to three extents, got {tuple(extent)}")
    return (*map(int, extent), 1, 1)[:3]


def constant_bytes(name: str, value: bool | int | float | np.generic, size: int) -> bytes:
    """A function constant's value as Metal stores it in `size` bytes.

    A Python float is a half or a float, another Python number an integer; a numpy scalar is taken as it is.
    """
    try:
        if isinstance(value, np.generic):
            data = value.tobytes()
        elif isinstance(value, float):
            data = struct.pack({2: "e", 4: "f"}[size], value)
        else:
            data = int(value).to_bytes(size, "little", signed=value < 0)
    except (KeyError, OverflowError):
        data = b""
    if len(data) != size:
        raise SimulatorError(f"function constant {name}: {value!r} does not fit its type of {size} byte(s)")
    return data
