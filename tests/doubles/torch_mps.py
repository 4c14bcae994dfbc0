"""A double of torch's MPS shim that runs kernels in the simulator, on CPU tensors.

It keeps the rules of at::native::mps::MetalKernelFunction and of Metal's command encoder in the strictest reading of
torch 2.10 to 2.15: each thread has a stream of its own, looking a kernel up is not thread-safe, command blocks do not
nest, a kernel remembers the encoder it is encoded with, threads are counted instead of threadgroups, and parameters
take at most 4096 bytes. An argument that was not set since the kernel was is missing, though Metal might find an old
one there.
"""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fusedops import _torch, sim
from fusedops.sim.compiler import host_compiler

PASSES_BYTES = {"nothing": 0, "C++ method": 1, "C function": 2}  # as torch_mps.cpp numbers them
MAX_THREADS_PER_THREADGROUP = 1024
MAX_PARAMETER_BYTES = 4096

_LIBTORCH = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
_SOURCE = Path(__file__).with_suffix(".cpp")

_Handle = ctypes.c_void_p
_HandlePointer = ctypes.POINTER(_Handle)
_Sizes = ctypes.POINTER(ctypes.c_uint64)
_Block = ctypes.CFUNCTYPE(None, _Handle, _Handle)
_SIGNATURES = {  # in the order of torch_mps.cpp's Handlers
    "create_shader_library": (ctypes.c_char_p, _HandlePointer),
    "get_kernel_function": (_Handle, ctypes.c_char_p, _HandlePointer),
    "run_command_block": (_Handle, _Handle, _Handle),
    "start_encoding": (_Handle,),
    "set_arg_tensor": (_Handle, ctypes.c_uint, _Handle),
    "set_arg_bytes": (_Handle, ctypes.c_uint, _Handle, ctypes.c_uint64),
    "dispatch": (_Handle, _Sizes, ctypes.c_size_t, _Sizes, ctypes.c_size_t),
    "max_threads": (_Handle, _Sizes),
}
_PROTOTYPES = {name: ctypes.CFUNCTYPE(ctypes.c_int32, *arguments) for name, arguments in _SIGNATURES.items()}


class _Handlers(ctypes.Structure):
    _fields_ = list(_PROTOTYPES.items())


_installed: list[_Handlers] = []  # kept alive, since the shim points to them


class Kernel:
    """torch's MetalKernelFunction."""

    def __init__(self, name: str, library: ShaderLibrary) -> None:
        self.name = name
        self.library = library
        self.encoder: Encoder | None = None


class ShaderLibrary:
    """torch's DynamicMetalShaderLibrary: compiles at once."""

    def __init__(self, source: bytes) -> None:
        self.simulated = sim.build(source.decode("ascii"), check=True)
        self.kernels: dict[str, Kernel] = {}

    def kernel(self, name: str) -> Kernel:
        if name not in self.simulated.kernels:
            raise RuntimeError(f"Failed to create function state object for: {name}")
        return self.kernels.setdefault(name, Kernel(name, self))


class Encoder:
    """A stream's open command encoder: the kernel that the next dispatch runs, and its arguments."""

    def __init__(self) -> None:
        self.kernel: Kernel | None = None
        self.arguments: dict[int, Any] = {}

    def start(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.arguments = {}


class Stream(threading.local):
    """The current stream of a thread."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.in_block = False


class Double:
    """The functions behind torch_mps.cpp, and what they have been asked to do."""

    def __init__(self) -> None:
        self.dispatched: list[str] = []  # the names of the kernels that ran
        self.max_threads_per_threadgroup = MAX_THREADS_PER_THREADGROUP
        self._stream = Stream()
        self._lookup = threading.Lock()
        self._handles: dict[int, Kernel | ShaderLibrary] = {}

    def create_shader_library(self, source: bytes, library: Any) -> None:
        with self._not_at_once():
            library[0] = self._handle(ShaderLibrary(source))

    def get_kernel_function(self, library: int, name: bytes, kernel: Any) -> None:
        with self._not_at_once():
            kernel[0] = self._handle(self._handles[library].kernel(name.decode()))

    def run_command_block(self, kernel: int, block: int, context: int) -> None:
        with self.command_block():
            _Block(block)(kernel, context)

    def start_encoding(self, kernel: int) -> None:
        if not self._stream.in_block:
            raise RuntimeError("encoding outside of a command block")
        found = self._handles[kernel]
        found.encoder = self._stream.encoder
        found.encoder.start(found)
        _let_others_in()

    def set_arg_tensor(self, kernel: int, index: int, tensor: int) -> None:
        self._encoder(kernel).arguments[index] = tensor

    def set_arg_bytes(self, kernel: int, index: int, pointer: int | None, size: int) -> None:
        if not pointer or not 0 < size <= MAX_PARAMETER_BYTES:
            raise RuntimeError(f"size must be in (0, {MAX_PARAMETER_BYTES}], got {size}")
        self._encoder(kernel).arguments[index] = ctypes.string_at(pointer, size)

    def dispatch(self, kernel: int, threads: Any, rank: int, per_threadgroup: Any, per_threadgroup_rank: int) -> None:
        encoder = self._encoder(kernel)
        if rank != per_threadgroup_rank or not 1 <= rank <= 3:
            raise RuntimeError("size and group_size must have same number of dimensions")
        grid, group = tuple(threads[:rank]), tuple(per_threadgroup[:rank])
        if np.prod(group) > MAX_THREADS_PER_THREADGROUP:
            raise RuntimeError(f"Threadgroup size exceeds {MAX_THREADS_PER_THREADGROUP} limit")
        if 0 in grid or any(count % size for count, size in zip(grid, group, strict=True)):
            raise RuntimeError(f"{grid} threads are no whole number of threadgroups of {group}")
        self._run(encoder, tuple(count // size for count, size in zip(grid, group, strict=True)), group)

    def max_threads(self, kernel: int, threads: Any) -> None:
        assert kernel in self._handles
        threads[0] = self.max_threads_per_threadgroup

    @contextlib.contextmanager
    def command_block(self) -> Iterator[None]:
        """Be what a stream's queue runs meanwhile."""
        if self._stream.in_block:
            raise RuntimeError("a command block in a command block waits for itself")
        self._stream.in_block = True
        try:
            yield
        finally:
            self._stream.in_block = False

    def _run(self, encoder: Encoder, threadgroups: tuple[int, ...], group: tuple[int, ...]) -> None:
        kernel = encoder.kernel
        assert kernel is not None
        buffers = {i: v if isinstance(v, bytes) else _memory_of(v) for i, v in encoder.arguments.items()}
        kernel.library.simulated.run(
            kernel.name, buffers, threadgroups=threadgroups, threads_per_threadgroup=group, order="random"
        )
        self.dispatched.append(kernel.name)

    def _encoder(self, kernel: int) -> Encoder:
        """Return the encoder that a kernel remembers; an error where it is not this thread's any more."""
        encoder = self._handles[kernel].encoder
        if encoder is not self._stream.encoder or encoder.kernel is not self._handles[kernel]:
            raise RuntimeError("another thread, or another kernel, has begun encoding")
        return encoder

    def _handle(self, thing: Kernel | ShaderLibrary) -> int:
        self._handles[id(thing)] = thing
        return id(thing)

    @contextlib.contextmanager
    def _not_at_once(self) -> Iterator[None]:
        if not self._lookup.acquire(blocking=False):
            raise RuntimeError("two threads look up kernels at once")
        try:
            _let_others_in()
            yield
        finally:
            self._lookup.release()


def _let_others_in() -> None:
    """Wait where another thread, were it not locked out, would spoil something."""
    if threading.active_count() > 1:
        time.sleep(0.001)


def _memory_of(tensor: int) -> NDArray[np.uint8]:
    """Return the bytes from a tensor's first element to the end of its storage."""
    first, storage_offset, storage_size, dtype = ctypes.c_void_p(), ctypes.c_int64(), ctypes.c_int64(), ctypes.c_int32()
    libtorch = ctypes.CDLL(str(_LIBTORCH))
    libtorch.torch_get_const_data_ptr(_Handle(tensor), ctypes.byref(first))
    libtorch.aoti_torch_get_storage_offset(_Handle(tensor), ctypes.byref(storage_offset))
    libtorch.aoti_torch_get_storage_size(_Handle(tensor), ctypes.byref(storage_size))
    libtorch.aoti_torch_get_dtype(_Handle(tensor), ctypes.byref(dtype))
    libtorch.aoti_torch_dtype_element_size.restype = ctypes.c_size_t
    skipped = storage_offset.value * libtorch.aoti_torch_dtype_element_size(dtype)
    if storage_size.value == skipped or not first.value:
        return np.empty(0, np.uint8)
    return np.ctypeslib.as_array((ctypes.c_uint8 * (storage_size.value - skipped)).from_address(first.value))


def install(passes_bytes: str = "C function") -> Double:
    """Put the double in the place of MPS, for this process's CPU tensors, before any operator is used."""
    shim = _load_shim(PASSES_BYTES[passes_bytes])
    double = Double()
    handlers = _Handlers(**{name: _guarded(getattr(double, name), name, shim) for name in _PROTOTYPES})
    shim.double_install(ctypes.byref(handlers))
    _installed.append(handlers)
    _torch.register_cpu_kernels = lambda: _torch.register_mps_kernels("CPU")
    _torch.set_up_direct_calls = lambda *_: False  # they run the CPU kernels
    return double


def _guarded(function: Callable[..., None], name: str, shim: ctypes.CDLL) -> Any:
    """Return the C function that turns exceptions into torch's error code and message."""

    def call(*arguments: Any) -> int:
        try:
            function(*arguments)
        except Exception as error:
            shim.double_set_error(str(error).encode())
            return 1
        return 0

    return _PROTOTYPES[name](call)


def _load_shim(passes_bytes: int) -> ctypes.CDLL:
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "torch_mps.so"
        flags = ["-std=c++17", "-O0", "-shared", "-fPIC", f"-DPASSES_BYTES={passes_bytes}"]
        subprocess.run([host_compiler(), *flags, _SOURCE, _LIBTORCH, "-o", library], check=True)
        return ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
