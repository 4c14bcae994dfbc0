"""Kernels built for an NVIDIA GPU."""

import ctypes
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import SimulatorError
from ..run.arguments import (
    ORDERS,
    Array,
    Buffer,
    Extent,
    InPlace,
    constant_bytes,
    contiguous,
    grid,
    indexed,
    integer,
    seconds,
    seed_of_order,
    threadgroup_lengths,
)
from ..run.library import Source
from ..translate import translate
from ..translate.cuda import entry_point
from ..translate.declarations import MAXIMUM_BUFFERS
from .compile import compile_cubin
from .driver import NOT_FOUND, Driver, driver

_ZEROS = 4096  # bytes of them, for parameters that a function constant disables
_STATIC_SHARED_MEMORY = 48 << 10  # what a launch may use without asking
_DYNAMIC_SHARED_MEMORY_ATTRIBUTE = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES


class _Arguments(ctypes.Structure):
    """MslArgs in shim/cuda/arguments.h."""

    _fields_ = (
        ("buffers", ctypes.c_void_p * MAXIMUM_BUFFERS),
        ("threads", ctypes.c_uint * 3),
        ("threadgroup_memory", ctypes.c_uint * MAXIMUM_BUFFERS),
    )


@dataclass
class _Launch:
    """A kernel with its buffers on the device."""

    function: ctypes.c_void_p
    arguments: _Arguments
    threadgroups: tuple[int, ...]
    threadgroup: tuple[int, ...]
    shared_memory: int
    outputs: list[tuple[Array, ctypes.c_uint64]] = field(default_factory=list)

    def enqueue(self, cuda: Driver) -> None:
        parameters = (ctypes.c_void_p * 1)(ctypes.addressof(self.arguments))
        sizes = (*self.threadgroups, *self.threadgroup)
        cuda.call("cuLaunchKernel", self.function, *sizes, self.shared_memory, None, parameters, None)


class CudaLibrary:
    """The kernels of one source, as `build` makes them; like sim.run.Library, but that `kernels` are only names."""

    def __init__(self, cubin: Path, kernels: Sequence[str], constants: Sequence[str]) -> None:
        self.path = cubin
        self.kernels = kernels
        self._constants = constants
        self._cuda = driver()
        self._module = ctypes.c_void_p()
        with self._cuda.lock:
            self._cuda.enter()
            self._cuda.call("cuModuleLoadData", ctypes.byref(self._module), cubin.read_bytes())

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
        """Run a kernel; see sim.run.Library.run. The GPU chooses the order and makes no checks: the log is empty.

        SimulatorError: a kernel or constant that does not exist, or what the driver says. After a fault of a kernel
        the process can run nothing more on the GPU.
        """
        if order not in ORDERS:
            raise ValueError(f"order: expected one of {', '.join(ORDERS)}, got {order!r}")
        seed_of_order(seed)
        seconds("time_limit", time_limit)
        with self._prepared(
            kernel, buffers, threadgroups, threads, threads_per_threadgroup, constants or {}, threadgroup_memory
        ) as launch:
            launch.enqueue(self._cuda)
            self._cuda.call("cuCtxSynchronize")
            for array, address in launch.outputs:
                data = np.empty_like(array, order="C")
                self._cuda.call("cuMemcpyDtoH_v2", _pointer(data), address, ctypes.c_size_t(data.nbytes))
                array[...] = data
        return ""

    def time(
        self,
        kernel: str,
        buffers: Sequence[Buffer] | Mapping[int, Buffer],
        *,
        threadgroups: Extent | None = None,
        threads: Extent | None = None,
        threads_per_threadgroup: Extent = (1,),
        constants: Mapping[str, bool | int | float | np.generic] | None = None,
        threadgroup_memory: Mapping[int, int] | None = None,
        launches: int = 20,
        rounds: int = 5,
    ) -> float:
        """Seconds per launch: the least, over `rounds`, of the mean of `launches` in a row after a warm-up round.

        The buffers stay on the device throughout, so an input may be an earlier output; the arrays do not change.
        """
        launches, rounds = (integer(name, n, 1, 1 << 31) for name, n in (("launches", launches), ("rounds", rounds)))
        with self._prepared(
            kernel, buffers, threadgroups, threads, threads_per_threadgroup, constants or {}, threadgroup_memory
        ) as launch:
            return min([self._milliseconds(launch, launches) for _ in range(rounds + 1)][1:]) / launches / 1e3

    def _milliseconds(self, launch: _Launch, launches: int) -> float:
        start, stop, elapsed = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_float()
        for event in (start, stop):
            self._cuda.call("cuEventCreate", ctypes.byref(event), 0)
        try:
            self._cuda.call("cuEventRecord", start, None)
            for _ in range(launches):
                launch.enqueue(self._cuda)
            self._cuda.call("cuEventRecord", stop, None)
            self._cuda.call("cuEventSynchronize", stop)
            self._cuda.call("cuEventElapsedTime", ctypes.byref(elapsed), start, stop)
        finally:
            for event in (start, stop):
                self._cuda.call("cuEventDestroy_v2", event)
        return elapsed.value

    @contextmanager
    def _prepared(
        self,
        kernel: str,
        buffers: Sequence[Buffer] | Mapping[int, Buffer],
        threadgroups: Extent | None,
        threads: Extent | None,
        threads_per_threadgroup: Extent,
        constants: Mapping[str, bool | int | float | np.generic],
        threadgroup_memory: Mapping[int, int] | None,
    ) -> Iterator[_Launch]:
        """The launch with its buffers on the device and its constants set, for as long as the context is open."""
        extent, threadgroup = grid(threadgroups, threads, threads_per_threadgroup)
        lengths = threadgroup_lengths(threadgroup_memory)
        if any(n % unit for n, unit in zip(extent, threadgroup, strict=True)):
            raise SimulatorError(
                "CUDA has no partial threadgroups: threads must be multiples of those of a threadgroup"
            )
        sizes = tuple(n // unit for n, unit in zip(extent, threadgroup, strict=True))
        arguments = _Arguments(threads=extent)
        shared_memory = 0
        for index, length in lengths.items():
            arguments.threadgroup_memory[index] = shared_memory
            shared_memory += -(-length // 16) * 16
        allocated: list[ctypes.c_uint64] = []
        with self._cuda.lock:
            self._cuda.enter()
            try:
                launch = _Launch(self._function(kernel, shared_memory), arguments, sizes, threadgroup, shared_memory)
                self._bind(launch, buffers, allocated)
                self._set_constants(constants)
                yield launch
            finally:
                for address in allocated:
                    self._cuda.free(address)

    def _function(self, kernel: str, shared_memory: int) -> ctypes.c_void_p:
        if kernel not in self.kernels:
            raise SimulatorError(f"error: no kernel '{kernel}'")
        function = ctypes.c_void_p()
        self._cuda.call("cuModuleGetFunction", ctypes.byref(function), self._module, entry_point(kernel).encode())
        if shared_memory > _STATIC_SHARED_MEMORY:
            self._cuda.call("cuFuncSetAttribute", function, _DYNAMIC_SHARED_MEMORY_ATTRIBUTE, shared_memory)
        return function

    def _bind(
        self,
        launch: _Launch,
        buffers: Sequence[Buffer] | Mapping[int, Buffer],
        allocated: list[ctypes.c_uint64],
    ) -> None:
        """Copy the buffers to the device."""

        def upload(data: Array) -> ctypes.c_uint64:
            address = self._cuda.allocate(data.nbytes)
            allocated.append(address)
            self._cuda.call("cuMemcpyHtoD_v2", address, _pointer(data), ctypes.c_size_t(data.nbytes))
            return address

        launch.arguments.buffers[:] = [upload(np.zeros(_ZEROS, np.uint8)).value] * MAXIMUM_BUFFERS
        bound: dict[tuple[int, int], tuple[ctypes.c_uint64, Array]] = {}
        for index, buffer, offset in indexed(buffers):
            if isinstance(buffer, InPlace):
                raise SimulatorError(f"buffer({index}): a GPU cannot read the host's memory in place")
            data = contiguous(buffer)
            memory = (data.ctypes.data, data.nbytes)
            if memory not in bound:
                bound[memory] = upload(data), data
                if isinstance(buffer, np.ndarray) and buffer.flags.writeable:
                    launch.outputs.append((buffer, bound[memory][0]))
            launch.arguments.buffers[index] = bound[memory][0].value + offset

    def _set_constants(self, constants: Mapping[str, bool | int | float | np.generic]) -> None:
        if unknown := set(constants) - set(self._constants):
            raise SimulatorError(f"there is no function constant {', '.join(map(repr, sorted(unknown)))}")
        for name in self._constants:
            self._set_global(name, constants.get(name, 0))
            self._set_global(f"{name}__defined", name in constants)

    def _set_global(self, name: str, value: bool | int | float | np.generic) -> None:
        address, size = ctypes.c_uint64(), ctypes.c_size_t()
        symbol = f"_ZN3mtl{len(name)}{name}E".encode()  # mtl::name, as C++ mangles it
        found = (ctypes.byref(address), ctypes.byref(size), self._module, symbol)
        if self._cuda.call("cuModuleGetGlobal_v2", *found, accept=[NOT_FOUND]):
            return  # no kernel reads it
        self._cuda.call("cuMemcpyHtoD_v2", address, constant_bytes(name, value, size.value), size)


def _pointer(array: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def build(
    source: Path | str,
    *,
    include: Sequence[Path | str] = (),
    defines: Sequence[str] = (),
    only: str | None = None,
    check: bool = False,
    constants: Mapping[str, bool | int | float] | None = None,
) -> CudaLibrary:
    """Compile a .metal file (a Path) or Metal text (a str) for the first GPU; see sim.build. `check` has no effect.

    With `constants`, function constants are compiled in as Metal does, and a launch takes none.
    """
    translation = translate(source, "cuda", include=include, defines=defines, only=only, constants=constants)
    cubin = compile_cubin(translation.text, driver().architecture())
    return CudaLibrary(cubin, translation.kernels, translation.constants)


def build_many(sources: Sequence[Source], jobs: int | None = None) -> list[CudaLibrary]:
    """`build` several sources at once, in as many jobs as there are processors unless given."""

    def build_one(s: Source) -> CudaLibrary:
        return build(s.source, include=s.include, defines=s.defines, only=s.only)

    with ThreadPoolExecutor(jobs or os.cpu_count()) as pool:
        return list(pool.map(build_one, sources))
