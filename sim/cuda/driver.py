"""The few functions of CUDA's driver API that a launch needs."""

import ctypes
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

from ..errors import SimulatorError

NOT_FOUND = 500  # CUDA_ERROR_NOT_FOUND
_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76  # CUdevice_attribute


class Driver:
    """The first device's primary context. Calls must be made under `lock`, after `enter` on the calling thread."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libcuda.so.1")
        except OSError as error:
            raise SimulatorError(f"no CUDA driver: {error}") from None
        self.lock = threading.Lock()
        self._context = ctypes.c_void_p()
        self.call("cuInit", 0)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), 0)

    def call(self, name: str, *arguments: Any, accept: Sequence[int] = ()) -> int:
        """Call a function; its result if that is 0 or in `accept`, else a SimulatorError with the driver's words."""
        result: int = getattr(self._library, name)(*arguments)
        if result and result not in accept:
            text = ctypes.c_char_p()
            self._library.cuGetErrorString(result, ctypes.byref(text))
            raise SimulatorError(f"error: {name}: {(text.value or b'unknown').decode()} ({result})")
        return result

    def enter(self) -> None:
        self.call("cuCtxSetCurrent", self._context)

    def architecture(self) -> str:
        """Such as sm_90."""
        numbers = []
        for attribute in (_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR):
            number = ctypes.c_int()
            self.call("cuDeviceGetAttribute", ctypes.byref(number), attribute, 0)
            numbers.append(number.value)
        return "sm_{}{}".format(*numbers)

    def free(self, address: ctypes.c_uint64) -> None:
        """Its failure would only repeat that of the launch before."""
        self._library.cuMemFree_v2(address)

    def allocate(self, size: int) -> ctypes.c_uint64:
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        return address


@cache
def driver() -> Driver:
    """The one driver of this process; a SimulatorError where there is none."""
    return Driver()


def has_device() -> bool:
    """Whether this machine has a CUDA driver and a GPU."""
    try:
        driver()
    except SimulatorError:
        return False
    return True
