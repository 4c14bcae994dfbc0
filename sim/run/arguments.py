"""What a launch takes, in the forms that the runners on the processor and on CUDA share."""

import math
import operator
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import SimulatorError
from ..translate.declarations import MAXIMUM_BUFFERS

ORDERS = ("forward", "reverse", "random")

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
Memory = Array | InPlace | np.generic | bytes | bytearray  # what is bound

_32_BITS, _64_BITS = (1 << 32) - 1, (1 << 64) - 1
_MAXIMUM_THREADS = 1024  # of a threadgroup, on Apple GPUs
_MAXIMUM_SECONDS = 1e9
_NOT_NUMBERS = "OSU"  # numpy's kinds of objects and strings


def indexed(buffers: Sequence[Buffer] | Mapping[int, Buffer]) -> Iterator[tuple[int, Memory, int]]:
    """The bound buffers with their indices and byte offsets.

    TypeError: what is no buffer. ValueError: an index beyond Metal's limit, an offset beyond the buffer, or an array
    that no kernel could read.
    """
    if not isinstance(buffers, Mapping) and (isinstance(buffers, str | bytes) or not isinstance(buffers, Sequence)):
        raise TypeError(f"buffers: expected a sequence or a mapping of buffers, got {type(buffers).__name__}")
    pairs = buffers.items() if isinstance(buffers, Mapping) else enumerate(buffers)
    for key, buffer in pairs:
        index = integer("buffers: an index", key, 0, MAXIMUM_BUFFERS - 1)
        memory, offset = buffer if isinstance(buffer, AtOffset) else (buffer, 0)
        if isinstance(buffer, AtOffset) or memory is not None:
            checked = _memory(index, memory)
            size = 0 if isinstance(checked, InPlace) else contiguous(checked).nbytes if offset else 0
            yield index, checked, integer(f"buffer({index}): the byte offset", offset, 0, size)


def _memory(index: int, memory: Any) -> Memory:
    if isinstance(memory, InPlace):
        integer(f"buffer({index}): the address", memory.address, 1, _64_BITS)
    elif isinstance(memory, np.ma.MaskedArray) or not isinstance(memory, np.ndarray | np.generic | bytes | bytearray):
        raise TypeError(
            f"buffer({index}): expected a numpy array, or a numpy scalar or bytes as setBytes takes them, got "
            f"{type(memory).__name__}"
        )
    elif isinstance(memory, np.ndarray | np.generic):
        dtype = memory.dtype
        if dtype.hasobject or dtype.kind in _NOT_NUMBERS:
            raise TypeError(f"buffer({index}): expected numbers, got dtype {dtype}")
        if not dtype.isnative:
            raise ValueError(f"buffer({index}): expected this machine's order of bytes, got dtype {dtype}")
    return cast("Memory", memory)


class _Bytes:
    """Bytes at an address, for numpy."""

    def __init__(self, address: int, size: int) -> None:
        self.__array_interface__ = {"data": (address, True), "shape": (size,), "typestr": "|u1", "version": 3}


def bytes_at(address: int, size: int) -> Array:
    """The bytes at an address, not copied and read-only, as long as they are there."""
    return np.asarray(_Bytes(address, size))


def contiguous(buffer: Array | np.generic | bytes | bytearray) -> Array:
    """The buffer's bytes as an array, which may be the buffer itself."""
    if isinstance(buffer, bytes | bytearray):
        return np.frombuffer(buffer, np.uint8)
    return np.ascontiguousarray(buffer)


def check_output(index: int, name: str, buffer: Memory) -> None:
    """ValueError: a kernel's writes to this array would be lost, or would meet one another."""
    if not isinstance(buffer, np.ndarray):
        return
    if not buffer.flags.writeable:
        raise ValueError(f"buffer({index}) '{name}': the kernel may write to it, but the array is read-only")
    reach = buffer.itemsize  # of the dimensions so far, from the finest on
    for stride, extent in sorted(zip(map(abs, buffer.strides), buffer.shape, strict=True)):
        if extent > 1 and stride < reach:
            raise ValueError(f"buffer({index}) '{name}': the kernel may write to it, but the array overlaps itself")
        reach += (extent - 1) * stride


def grid(
    threadgroups: Extent | None, threads: Extent | None, threads_per_threadgroup: Extent
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The threads of the grid and of a threadgroup, three numbers each.

    TypeError: what is no integer. ValueError: not exactly one grid is given, or an extent is beyond Metal's limits.
    """
    if (threadgroups is None) == (threads is None):
        raise ValueError("expected either threadgroups or threads")
    threadgroup = _three("threads_per_threadgroup", threads_per_threadgroup)
    if (count := math.prod(threadgroup)) > _MAXIMUM_THREADS:
        raise ValueError(f"threads_per_threadgroup: {count} threads per threadgroup, the limit is {_MAXIMUM_THREADS}")
    if threads is not None:
        extent = _three("threads", threads)
    else:
        groups = _three("threadgroups", threadgroups)
        extent = tuple(a * b for a, b in zip(groups, threadgroup, strict=True))
    if max(extent) > _32_BITS or math.prod(extent) > _64_BITS:
        name, shape = "threads" if threads is not None else "threadgroups", "x".join(map(str, extent))
        raise ValueError(f"{name}: a grid of {shape} threads, the limits are 32 bits for each extent and 64 for all")
    return extent, threadgroup


def threadgroup_lengths(lengths: Mapping[int, int] | None) -> dict[int, int]:
    """Bytes of threadgroup memory by index. TypeError and ValueError: no integers, or beyond Metal's limits."""
    return {
        integer("threadgroup_memory: an index", index, 0, MAXIMUM_BUFFERS - 1): integer(
            f"threadgroup_memory[{index}]", length, 1, _32_BITS
        )
        for index, length in (lengths or {}).items()
    }


def seed_of_order(seed: int) -> int:
    """TypeError and ValueError: no integer of 64 bits."""
    return integer("seed", seed, 0, _64_BITS)


def seconds(name: str, value: float) -> float:
    """TypeError and ValueError: no number of seconds that a timer takes."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, float | int | np.floating | np.integer):
        raise TypeError(f"{name}: expected seconds, got {value!r}")
    if not 0 <= value <= _MAXIMUM_SECONDS:
        raise ValueError(f"{name}: expected from 0 (none) to {_MAXIMUM_SECONDS:g} seconds, got {value!r}")
    return float(value)


def integer(name: str, value: Any, least: int, most: int) -> int:
    """An integer, numpy's among them, from `least` to `most`. TypeError and ValueError: anything else."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {value!r}") from None
    if not least <= number <= most:
        raise ValueError(f"{name}: expected from {least} to {most}, got {number}")
    return number


def _three(name: str, extent: Any) -> tuple[int, ...]:
    if isinstance(extent, str | bytes) or not isinstance(extent, tuple | list | np.ndarray | Sequence):
        raise TypeError(f"{name}: expected one to three extents, got {extent!r}")
    if not 1 <= len(extent) <= 3:
        raise ValueError(f"{name}: expected one to three extents, got {len(extent)}")
    return (*(integer(f"{name}[{i}]", n, 1, _32_BITS) for i, n in enumerate(extent)), 1, 1)[:3]


def constant_bytes(name: str, value: bool | int | float | np.generic, size: int) -> bytes:
    """A function constant's value as Metal stores it in `size` bytes.

    A Python float is a half or a float, another Python number an integer; a numpy scalar is taken as it is.
    """
    try:
        if isinstance(value, np.generic):
            data = value.tobytes()
        elif isinstance(value, float):
            data = struct.pack({2: "e", 4: "f"}[size], value)
        elif isinstance(value, int):
            data = int(value).to_bytes(size, "little", signed=value < 0)
        else:
            raise TypeError(f"function constant {name}: expected a bool or a number, got {value!r}")
    except (KeyError, OverflowError):
        data = b""
    if len(data) != size:
        raise SimulatorError(f"function constant {name}: {value!r} does not fit its type of {size} byte(s)")
    return data
