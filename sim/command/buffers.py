"""The --buffer option: what a kernel's buffer holds, in one word."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import SimulatorError
from ..translate.declarations import MAXIMUM_BUFFERS

Array = NDArray[Any]

SYNTAX = """\
A BUFFER is one word:
  float32:4x1000            an array, of random values
  float16:64:poison         what it is filled with: random, uniform, arange, zeros, ones, poison or a number
  weights.npy               the array of a file; bfloat16:weights.npy converts it
  float32=1e-5              a value, as setBytes passes it; uint32=4,5,0*3 for several
  uint32=1000/float32=1e-5  a struct of such values, each aligned to its size
  7@uint32=1                at index 7; otherwise a buffer follows the one before it
Floats are random from the normal distribution, integers from 0 to 99. Poison is NaN, in integers 99."""

_STORAGE: dict[str, type[np.generic]] = {
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": np.uint16,  # numpy has none: its bits
    "bool": np.bool_,
    **{f"{sign}int{bits}": getattr(np, f"{sign}int{bits}") for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
_METAL_NAMES = {
    **{"float": "float32", "half": "float16", "bfloat": "bfloat16", "char": "int8", "uchar": "uint8"},
    **{"short": "int16", "ushort": "uint16", "int": "int32", "uint": "uint32", "long": "int64", "ulong": "uint64"},
}
_FLOATS = ("float32", "float16", "bfloat16")
_FILLS = "random, uniform, arange, zeros, ones, poison or a number"


@dataclass
class Buffer:
    """A buffer of a launch: `data` in its storage type; `is_value` if it goes in by setBytes."""

    index: int
    dtype: str  # a key of _STORAGE, or "struct" for bytes
    data: Array
    is_value: bool = False

    def values(self) -> Array:
        """What the data mean: floats as float64, anything else as it is stored."""
        if self.dtype == "bfloat16":
            return (self.data.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        return self.data.astype(np.float64) if self.is_float else self.data

    @property
    def is_float(self) -> bool:
        return self.dtype in _FLOATS

    @property
    def shape(self) -> str:
        return "x".join(map(str, self.data.shape)) or "scalar"

    def with_data(self, data: Array) -> "Buffer":
        return Buffer(self.index, self.dtype, data, self.is_value)


def parse_buffers(specifications: list[str], seed: int) -> list[Buffer]:
    """The buffers of all --buffer options; SimulatorError says which one is wrong and how."""
    random = np.random.default_rng(seed)
    buffers: list[Buffer] = []
    for specification in specifications:
        prefix, at, body = specification.rpartition("@")
        if at and not prefix.isdigit():
            raise SimulatorError(f"--buffer {specification}: expected an index before '@', got {prefix!r}")
        index = int(prefix) if at else (buffers[-1].index + 1 if buffers else 0)
        if index >= MAXIMUM_BUFFERS or index in (buffer.index for buffer in buffers):
            raise SimulatorError(f"--buffer {specification}: index {index} is beyond the last or taken")
        try:
            buffers.append(_parse_buffer(index, body, random))
        except (SimulatorError, ValueError, OverflowError, OSError) as error:
            raise SimulatorError(f"--buffer {specification}: {error}") from error
    return buffers


def _parse_buffer(index: int, body: str, random: np.random.Generator) -> Buffer:
    if body.endswith(".npy"):
        return _from_file(index, body)
    if "=" in body:
        return _from_values(index, body)
    dtype, _, rest = body.partition(":")
    shape, _, fill = rest.partition(":")
    if not re.fullmatch(r"\d+(x\d+)*", shape):
        raise SimulatorError(f"expected DTYPE:SHAPE such as float32:4x1000, DTYPE=VALUE or a .npy file, got {body!r}")
    dtype = _dtype_name(dtype)
    values = _filled(dtype, tuple(map(int, shape.split("x"))), fill or "random", random)
    return Buffer(index, dtype, _stored(values, dtype))


def _dtype_name(name: str) -> str:
    name = _METAL_NAMES.get(name, name)
    if name not in _STORAGE:
        raise SimulatorError(f"unknown dtype {name!r}; there are {', '.join(_STORAGE)}")
    return name


def _stored(values: Array, dtype: str) -> Array:
    """Values in their storage type; bfloat16 rounds to nearest, ties to even, and keeps NaN."""
    if dtype != "bfloat16":
        return np.ascontiguousarray(values, _STORAGE[dtype])
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), 0x7FC0, rounded).astype(np.uint16)


def _filled(dtype: str, shape: tuple[int, ...], fill: str, random: np.random.Generator) -> Array:
    is_float = dtype in _FLOATS
    highest = 2 if dtype == "bool" else 100
    match fill:
        case "random":
            return random.standard_normal(shape) if is_float else random.integers(0, highest, shape)
        case "uniform":
            return random.random(shape) if is_float else random.integers(0, highest, shape)
        case "arange":
            return np.arange(np.prod(shape)).reshape(shape)
        case "zeros":
            return np.zeros(shape)
        case "ones":
            return np.ones(shape)
        case "poison":
            return np.full(shape, np.nan if is_float else highest - 1)
    try:
        return np.full(shape, float(fill) if is_float else int(fill, 0))
    except ValueError:
        raise SimulatorError(f"expected {_FILLS}, got {fill!r}") from None


def _from_file(index: int, body: str) -> Buffer:
    dtype, colon, path = body.rpartition(":")
    array: Array = np.load(Path(path))
    dtype = _dtype_name(dtype if colon else array.dtype.name)
    return Buffer(index, dtype, _stored(array, dtype))


def _from_values(index: int, body: str) -> Buffer:
    parts = []
    for part in body.split("/"):
        dtype, _, numbers = part.partition("=")
        dtype = _dtype_name(dtype)
        parse = float if dtype in _FLOATS else _integer
        values = np.array([parse(value) for number in numbers.split(",") for value in _repeated(number)])
        data = _stored(values, dtype)
        if dtype not in _FLOATS and (data != values).any():
            raise SimulatorError(f"{numbers} does not fit {dtype}")
        parts.append((dtype, data))
    if len(parts) == 1:
        dtype, data = parts[0]
        return Buffer(index, dtype, data[0] if data.size == 1 and dtype != "bfloat16" else data, is_value=True)
    blob = b""
    for _, data in parts:
        blob += b"\0" * (-len(blob) % data.itemsize) + data.tobytes()
    blob += b"\0" * (-len(blob) % max(data.itemsize for _, data in parts))
    return Buffer(index, "struct", np.frombuffer(blob, np.uint8), is_value=True)


def _repeated(number: str) -> list[str]:
    """`0*3` is three zeros."""
    value, _, count = number.partition("*")
    return [value] * int(count or 1)


def _integer(text: str) -> int:
    return int(text == "true") if text in ("true", "false") else int(text, 0)
