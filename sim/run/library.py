"""Kernels built for the processor of this machine."""

import ctypes
import os
import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import SimulatorError
from ..translate import translate
from ..translate.declarations import PARAMETER_KINDS
from .arguments import (
    MAXIMUM_BUFFERS,
    ORDERS,
    Array,
    Buffer,
    Extent,
    InPlace,
    constant_bytes,
    contiguous,
    grid,
    indexed,
)
from .compile import Observer, compile_library, describe_places
from .cost import Cost, NativeCost

# A launch owns the process's signal handlers and its timer, so there is one at a time.
_LAUNCHING = threading.RLock()


class _Run(ctypes.Structure):
    """MslRun in shim/runtime/launch.cpp."""

    _fields_ = (
        ("kernel", ctypes.c_char_p),
        ("buffers", ctypes.c_void_p * MAXIMUM_BUFFERS),
        ("threadgroup_memory", ctypes.c_uint32 * MAXIMUM_BUFFERS),
        ("grid", ctypes.c_uint32 * 3),
        ("threadgroup", ctypes.c_uint32 * 3),
        ("order", ctypes.c_int),
        ("seed", ctypes.c_uint64),
        ("time_limit", ctypes.c_double),
    )


@dataclass(frozen=True)
class Parameter:
    """A kernel's parameter; kind is "buffer", "threadgroup" or the name of a builtin attribute."""

    name: str
    kind: str
    index: int


@dataclass(frozen=True)
class Source:
    """What `build` takes: a .metal file (a Path) or Metal text (a str), and how to build it."""

    source: Path | str
    include: Sequence[Path | str] = ()
    defines: Sequence[str] = ()
    only: str | None = None
    check: bool = False
    count: bool = False


class Library:
    """The kernels of one source, as `build` makes them."""

    def __init__(self, path: Path, observer: Observer = Observer.NONE) -> None:
        self.path = path
        self._observer = observer
        self._native = ctypes.CDLL(str(path))
        self._native.msl_describe.restype = ctypes.c_char_p
        self._native.msl_run.restype = ctypes.c_char_p
        if observer is Observer.COUNTERS:
            self._native.msl_cost.restype = ctypes.c_void_p
        self._native.msl_allocate.restype = ctypes.c_void_p
        self._native.msl_allocate.argtypes = [ctypes.c_size_t, ctypes.c_bool]
        self._native.msl_set_constant.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]
        self.kernels: dict[str, list[Parameter]] = {}
        self._constants: dict[str, tuple[int, int]] = {}  # index and size in bytes
        for line in self._native.msl_describe().decode().splitlines():
            what, name, *rest = line.split("\t")
            if what == "kernel":
                self.kernels[name] = [_parameter(text) for text in rest]
            else:
                self._constants[name] = (int(rest[0]), int(rest[1]))

    def run(
        self,
        kernel: str,
        buffers: Sequence[Buffer] | Mapping[int, Buffer],
        *,
        threadgroups: Extent | None = None,
        threads: Extent | None = None,
        threads_per_threadgroup: Extent = (1,),
        constants: Mapping[str, bool | int | float | np.generic] | None = None,
        threadgroup_memory: Mapping[int, int] | None = None,
        order: str = "forward",
        seed: int = 0,
        strict: bool = True,
        allow: str | None = None,
        time_limit: float = 0,
    ) -> str:
        """Run a kernel by its host name and return the log, which is empty when there is nothing to say.

        Args:
            kernel: its host name.
            buffers: by index. numpy arrays of any dtype are changed in place, and the same memory twice is one buffer;
                numpy scalars and bytes are copied, as setBytes does; AtOffset binds an array at a byte offset, InPlace
                memory where it lies; None is not bound.
            threadgroups: of the grid, as dispatchThreadgroups takes them; or else
            threads: of the grid, as dispatchThreads takes them: threadgroups at the edges may be smaller.
            threads_per_threadgroup: one to three extents.
            constants: function constants by name; the others are undefined and read as zero.
            threadgroup_memory: lengths in bytes of [[threadgroup(index)]] parameters.
            order: of lanes, SIMD-groups and threadgroups: "forward", "reverse" or "random".
            seed: of the random order.
            strict: whether warnings are errors.
            allow: a regular expression; lines of the log where it is found are dropped.
            time_limit: in seconds of processor time; 0 for none.

        Raises:
            SimulatorError: the kernel's mistakes, one a line, each with the place in the Metal text.
            ValueError: the arguments make no sense.
        """
        if order not in ORDERS:
            raise ValueError(f"order: expected one of {', '.join(ORDERS)}, got {order!r}")
        run = _Run(kernel=kernel.encode(), order=ORDERS.index(order), seed=seed, time_limit=time_limit)
        run.grid, run.threadgroup = grid(threadgroups, threads, threads_per_threadgroup)
        for index, length in (threadgroup_memory or {}).items():
            run.threadgroup_memory[index] = length
        with _LAUNCHING:
            try:
                outputs = self._bind(run, buffers)
                self._set_constants(constants or {})
                log = self._native.msl_run(ctypes.byref(run)).decode()
                for array, address in outputs:
                    array[...] = _array_at(address, array)
            finally:
                self._native.msl_free_all()
        lines = describe_places(log, self.path).splitlines()
        lines = [line for line in lines if not (allow and re.search(allow, line))]
        if any(strict or line.startswith("error") for line in lines):
            raise SimulatorError("\n".join(lines))
        return "\n".join(lines)

    def count(self, kernel: str, buffers: Sequence[Buffer] | Mapping[int, Buffer], **launch: Any) -> Cost:
        """Run a kernel of a library that was built with count=True, and return what it cost.

        Args:
            kernel: as of `run`.
            buffers: as of `run`; they are changed as `run` changes them.
            launch: the other arguments of `run`.

        Raises:
            SimulatorError: as `run` raises it.
            ValueError: as `run` raises it, or the library was not built with count=True.
        """
        if self._observer is not Observer.COUNTERS:
            raise ValueError("count: expected a library that was built with count=True")
        with _LAUNCHING:
            self.run(kernel, buffers, **launch)
            return Cost(*NativeCost.from_address(self._native.msl_cost()))

    def _bind(self, run: _Run, buffers: Sequence[Buffer] | Mapping[int, Buffer]) -> list[tuple[Array, int]]:
        """Copy the buffers between guard pages; the arrays to be written back, with where their values will be."""
        outputs: list[tuple[Array, int]] = []
        bound: dict[tuple[int, int], tuple[int, Array]] = {}  # the array is kept, lest another take its place
        for index, buffer, offset in indexed(buffers):
            if isinstance(buffer, InPlace):
                run.buffers[index] = buffer.address
                continue
            data = contiguous(buffer)
            memory = (data.ctypes.data, data.nbytes)
            if memory not in bound:
                address = self._native.msl_allocate(data.nbytes, isinstance(buffer, np.generic | bytes | bytearray))
                if not address:
                    raise MemoryError(f"no memory for buffer({index}) of {data.nbytes} bytes")
                ctypes.memmove(address, data.ctypes.data, data.nbytes)
                bound[memory] = address, data
                if isinstance(buffer, np.ndarray) and buffer.flags.writeable:
                    outputs.append((buffer, address))
            run.buffers[index] = bound[memory][0] + offset
        return outputs

    def _set_constants(self, constants: Mapping[str, bool | int | float | np.generic]) -> None:
        self._native.msl_reset_constants()
        for name, value in constants.items():
            if name not in self._constants:
                raise SimulatorError(
                    f"there is no function constant {name!r}, only {', '.join(self._constants) or 'none'}"
                )
            index, size = self._constants[name]
            self._native.msl_set_constant(index, constant_bytes(name, value, size), size)


def _parameter(text: str) -> Parameter:
    name, kind, index = text.split(":")
    return Parameter(name, PARAMETER_KINDS[int(kind)], int(index))


def _array_at(address: int, like: Array) -> Array:
    return np.frombuffer(ctypes.string_at(address, like.nbytes), np.uint8).view(like.dtype).reshape(like.shape)


def build(
    source: Path | str,
    *,
    include: Sequence[Path | str] = (),
    defines: Sequence[str] = (),
    only: str | None = None,
    check: bool = False,
    count: bool = False,
) -> Library:
    """Compile a .metal file (a Path) or Metal text (a str) for this machine's processor; builds are cached.

    Args:
        source: the file or text; it is not changed in any way.
        include: directories of headers.
        defines: macros as NAME or NAME=VALUE.
        only: a regular expression; kernels whose host names it does not match as a whole are left out.
        check: also find data races, reads of uninitialised threadgroup memory and every access out of bounds; a run
            then takes several times as long.
        count: instead of that, count what `Library.count` returns.

    Raises:
        SimulatorError: what does not compile, with file and line of the Metal text.
        ValueError: both check and count.
    """
    if check and count:
        raise ValueError("check and count: expected at most one of them, since a build has one kind of observer")
    observer = Observer.CHECKS if check else Observer.COUNTERS if count else Observer.NONE
    translation = translate(source, "simulator", include=include, defines=defines, only=only)
    return Library(compile_library(translation.text, observer), observer)


def build_many(sources: Sequence[Source], jobs: int | None = None) -> list[Library]:
    """`build` several sources at once, in as many jobs as there are processors unless given."""

    def build_one(s: Source) -> Library:
        return build(s.source, include=s.include, defines=s.defines, only=s.only, check=s.check, count=s.count)

    with ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
        return list(pool.map(build_one, sources))
