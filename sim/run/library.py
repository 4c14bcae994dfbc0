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
from ..translate.declarations import MAXIMUM_BUFFERS, PARAMETER_KINDS
from .arguments import (
    ORDERS,
    Array,
    Buffer,
    Extent,
    InPlace,
    bytes_at,
    check_output,
    constant_bytes,
    contiguous,
    grid,
    indexed,
    seconds,
    seed_of_order,
    threadgroup_lengths,
)
from .compile import Observer, compile_library, describe_places
from .cost import Cost, NativeCost

# A launch owns the process's signal handlers and its timer, so there is one at a time.
_LAUNCHING = threading.RLock()


class _NativeParameter(ctypes.Structure):
    """MslParam in shim/sim_abi.h."""

    _fields_ = (
        ("kind", ctypes.c_int),
        ("index", ctypes.c_int),
        ("condition", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
    )


class _NativeKernel(ctypes.Structure):
    """MslKernel in shim/sim_abi.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("entry", ctypes.c_void_p),
        ("parameters", ctypes.POINTER(_NativeParameter)),
        ("may_write", ctypes.POINTER(ctypes.c_bool)),
        ("count", ctypes.c_uint32),
    )


class _NativeConstant(ctypes.Structure):
    """MslConstant in shim/sim_abi.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("index", ctypes.c_int),
        ("value", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("defined", ctypes.c_void_p),
        ("init", ctypes.c_void_p),
    )


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
    """A kernel's parameter; kind is "buffer", "threadgroup" or the name of a builtin attribute.

    `may_write`: it points to memory that is not const.
    """

    name: str
    kind: str
    index: int
    may_write: bool = False


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
        self._native = _loaded(path)
        self._native.msl_describe.restype = ctypes.c_bool
        self._native.msl_run.restype = ctypes.c_char_p
        if observer is Observer.COUNTERS:
            self._native.msl_cost.restype = ctypes.c_void_p
        self._native.msl_allocate.restype = ctypes.c_void_p
        self._native.msl_allocate.argtypes = [ctypes.c_size_t, ctypes.c_bool]
        self._native.msl_set_constant.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]
        kernels, kernel_count = ctypes.POINTER(_NativeKernel)(), ctypes.c_uint32()
        constants, constant_count = ctypes.POINTER(_NativeConstant)(), ctypes.c_uint32()
        descriptions = (kernels, kernel_count, constants, constant_count)
        if not self._native.msl_describe(*map(ctypes.byref, descriptions)):
            raise MemoryError("no memory for the descriptions of kernels")
        self.kernels: dict[str, list[Parameter]] = {
            kernel.name.decode(): _parameters(kernel) for kernel in kernels[: kernel_count.value]
        }
        self._constants: dict[str, tuple[int, int]] = {  # index and size in bytes
            constant.name.decode(): (constant.index, constant.size)
            for constant in constants[: constant_count.value]
            if constant.index >= 0
        }

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
            buffers: by index. numpy arrays of any dtype of numbers, contiguous or not; what the kernel may write to is
                changed in place, the same memory twice is one buffer, and other arrays that it may write to must not
                overlap. numpy scalars and bytes are copied, as setBytes does; AtOffset binds an array at a byte offset,
                InPlace memory where it lies; None is not bound.
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
            SimulatorError: the kernel's mistakes, one a line, each with the place in the Metal text; there is no such
                kernel; or a signal that Python handles without an exception has ended the launch.
            KeyboardInterrupt: Ctrl-C has ended the launch. The kernel may have written some of its outputs.
            TypeError, ValueError: the arguments make no sense.
            MemoryError: there is no memory for the buffers or for what is noted about them.
        """
        if order not in ORDERS:
            raise ValueError(f"order: expected one of {', '.join(ORDERS)}, got {order!r}")
        if kernel not in self.kernels:
            raise SimulatorError(f"error: no kernel {kernel!r}")
        run = _Run(
            kernel=kernel.encode(),
            order=ORDERS.index(order),
            seed=seed_of_order(seed),
            time_limit=seconds("time_limit", time_limit),
        )
        run.grid, run.threadgroup = grid(threadgroups, threads, threads_per_threadgroup)
        for index, length in threadgroup_lengths(threadgroup_memory).items():
            run.threadgroup_memory[index] = length
        written = {p.index: p.name for p in self.kernels[kernel] if p.kind == "buffer" and p.may_write}
        with _LAUNCHING:
            try:
                outputs = self._bind(run, buffers, written)
                self._set_constants(constants or {})
                log = self._native.msl_run(ctypes.byref(run))
                if log is None:
                    raise MemoryError("no memory for the simulator itself")
                for array, address in outputs:
                    array[...] = bytes_at(address, array.nbytes).view(array.dtype).reshape(array.shape)
            finally:
                self._native.msl_free_all()
        lines = describe_places(log.decode(), self.path).splitlines()
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

    def _bind(
        self, run: _Run, buffers: Sequence[Buffer] | Mapping[int, Buffer], written: Mapping[int, str]
    ) -> list[tuple[Array, int]]:
        """Copy the buffers between guard pages; the arrays to be written back, with where their values will be."""
        outputs: dict[int, Array] = {}  # by address
        bound: dict[tuple[int, int], tuple[int, Array]] = {}  # the array is kept, lest another take its place
        arrays: dict[int, Array] = {}
        for index, buffer, offset in indexed(buffers):
            if isinstance(buffer, InPlace):
                run.buffers[index] = buffer.address
                continue
            if index in written:
                check_output(index, written[index], buffer)
            data = contiguous(buffer)
            memory = (data.ctypes.data, data.nbytes)
            if memory not in bound:
                address = self._native.msl_allocate(data.nbytes, isinstance(buffer, np.generic | bytes | bytearray))
                if not address:
                    raise MemoryError(f"no memory for buffer({index}) of {data.nbytes} bytes")
                ctypes.memmove(address, data.ctypes.data, data.nbytes)
                bound[memory] = address, data
            address, _ = bound[memory]
            if isinstance(buffer, np.ndarray):
                if index in written and buffer.size:
                    outputs.setdefault(address, buffer)
                arrays.setdefault(address, buffer)
            run.buffers[index] = address + offset
        _check_apart(outputs, arrays)
        return [(array, address) for address, array in outputs.items()]

    def _set_constants(self, constants: Mapping[str, bool | int | float | np.generic]) -> None:
        self._native.msl_reset_constants()
        for name, value in constants.items():
            if name not in self._constants:
                raise SimulatorError(
                    f"there is no function constant {name!r}, only {', '.join(self._constants) or 'none'}"
                )
            index, size = self._constants[name]
            self._native.msl_set_constant(index, constant_bytes(name, value, size), size)


def _loaded(path: Path) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise SimulatorError(f"a build cannot be loaded: {error}") from error


def _parameters(kernel: _NativeKernel) -> list[Parameter]:
    return [
        Parameter(
            parameter.name.decode(),
            PARAMETER_KINDS[parameter.kind],
            parameter.index,
            PARAMETER_KINDS[parameter.kind] == "buffer" and may_write,
        )
        for parameter, may_write in zip(
            kernel.parameters[: kernel.count], kernel.may_write[: kernel.count], strict=True
        )
    ]


def _check_apart(outputs: Mapping[int, Array], arrays: Mapping[int, Array]) -> None:
    """ValueError: an array that may be written to overlaps one that is bound as another buffer."""
    for address, output in outputs.items():
        for other_address, other in arrays.items():
            if other_address != address and np.may_share_memory(output, other) and _share_memory(output, other):
                raise ValueError(
                    "buffers: an array that the kernel may write to overlaps another one; bind the whole of their "
                    "memory twice, with AtOffset"
                )


def _share_memory(a: Array, b: Array) -> bool:
    try:
        return np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]  # numpy's types know two numbers only
    except np.exceptions.TooHardError:
        return True


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
