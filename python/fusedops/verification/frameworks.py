"""The backends under test: how to make their arrays in any layout, read them back, and run an operator on them."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import types
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

import ml_dtypes  # noqa: F401  so that numpy knows bfloat16 by its name
import numpy as np
from numpy.typing import NDArray

import fusedops
from fusedops import backends
from fusedops.backends import numpy as numpy_backend

from . import cases

# On these there are no kernels yet.
RUN_COMPOSITES = {"torch-cuda", "mlx-cuda"}
RUN_METAL = {"torch-mps", "mlx-metal"}


class Framework(ABC):
    """Arrays of one kind on one device; `operators` has the functions of the public API."""

    # How many of the tiny absolute terms an error may have (see problems.assert_accurate). A composite is the plain way
    # itself, in its framework's arithmetic: that may sum less accurately than numpy, by which plain ways are computed.
    tiny_terms = 1

    def __init__(self, name: str, operators: Any = fusedops) -> None:
        self.name = name
        self.operators = operators
        if isinstance(operators, Composites) or name in RUN_COMPOSITES:
            self.tiny_terms = 4

    def __repr__(self) -> str:
        return self.name

    @property
    def has_deterministic(self) -> bool:
        """Whether attention takes deterministic=True: composites do not."""
        return not isinstance(self.operators, Composites) and self.name not in RUN_COMPOSITES

    @property
    def runs_metal(self) -> bool:
        """Whether the operators run Metal's kernels."""
        return isinstance(self.operators, MetalKernels) or self.name in RUN_METAL

    def activate(self) -> None:
        """Make operators on this framework's arrays run where they should; tests call it first."""
        return  # arrays carry their device

    @abstractmethod
    def array(self, values: NDArray[Any], dtype: str) -> Any:
        """Return a contiguous array of `values` in `dtype`."""

    @abstractmethod
    def numpy(self, array: Any) -> NDArray[Any]:
        """Return an array's values: float64, or bool as they are."""

    @abstractmethod
    def dtype(self, array: Any) -> str:
        """Return the name of an array's dtype."""

    def swap_axes(self, array: Any, first: int, second: int) -> Any:
        """Return a view with two axes swapped."""
        return array.swapaxes(first, second)

    @abstractmethod
    def broadcast(self, array: Any, shape: tuple[int, ...]) -> Any:
        """Return a view with stride 0 where `array` is repeated."""

    def laid_out(self, values: NDArray[Any], dtype: str, layout: str) -> Any:
        """Return `values` as an array of the given layout (see cases.py)."""
        if layout == cases.SWAPPED and values.ndim >= 3:
            return self.swap_axes(self.array(np.swapaxes(values, -2, -3), dtype), -2, -3)
        if layout == cases.TRANSPOSED and values.ndim >= 2:
            return self.swap_axes(self.array(np.swapaxes(values, -1, -2), dtype), -1, -2)
        if layout == cases.EXPANDED and values.ndim >= 1 and values.shape[0] > 0:
            return self.broadcast(self.array(values[:1], dtype), values.shape)
        if layout == cases.SLICED and values.ndim >= 1:
            padded_shape = (2 * values.shape[0] + 1, *(extent + 2 for extent in values.shape[1:]))
            index = (slice(1, None, 2), *(slice(1, -1) for _ in values.shape[1:]))
            poison = np.full(padded_shape, np.nan if values.dtype != bool else True, values.dtype)
            poison[index] = values
            return self.array(poison, dtype)[index]
        if layout == cases.UNALIGNED:
            return self.unaligned(values, dtype)
        return self.array(values, dtype)

    def unaligned(self, values: NDArray[Any], dtype: str) -> Any:
        """Return a contiguous array whose memory starts at an odd address, or any where there is no such array."""
        return self.array(values, dtype)

    def values(self, random: NDArray[Any], dtype: str, layout: str) -> NDArray[Any]:
        """Return the float64 values that laid_out(random, dtype, layout) holds."""
        if layout == cases.EXPANDED and random.ndim >= 1 and random.shape[0] > 0:
            random = np.broadcast_to(random[:1], random.shape)
        return self.numpy(self.array(random, dtype))


class NumpyFramework(Framework):
    """numpy arrays."""

    def array(self, values: NDArray[Any], dtype: str) -> Any:
        return np.array(values, np.dtype(dtype), order="C")

    def unaligned(self, values: NDArray[Any], dtype: str) -> Any:
        array = self.array(values, dtype)
        if isinstance(self.operators, MetalKernels):  # GPUs have no unaligned buffers
            return array
        return np.frombuffer(b"?" + array.tobytes(), array.dtype, array.size, 1).reshape(array.shape)

    def numpy(self, array: Any) -> NDArray[Any]:
        return np.asarray(array if array.dtype == bool else array.astype(np.float64))

    def dtype(self, array: Any) -> str:
        return str(array.dtype.name)

    def broadcast(self, array: Any, shape: tuple[int, ...]) -> Any:
        return np.broadcast_to(array, shape)


class TorchFramework(Framework):
    """torch tensors on one device."""

    def __init__(self, name: str, device: str, operators: Any = fusedops) -> None:
        super().__init__(name, operators)
        self.device = device

    def array(self, values: NDArray[Any], dtype: str) -> Any:
        import torch

        return torch.from_numpy(np.array(values, order="C")).to(getattr(torch, dtype)).to(self.device)

    def unaligned(self, values: NDArray[Any], dtype: str) -> Any:
        import torch

        array = self.array(values, dtype)
        if self.device != "cpu" or array.numel() == 0:
            return array
        memory = bytearray(b"?" + array.reshape(-1).view(torch.uint8).numpy().tobytes())
        return torch.frombuffer(memory, dtype=array.dtype, count=array.numel(), offset=1).reshape(array.shape)

    def numpy(self, array: Any) -> NDArray[Any]:
        import torch

        array = array.detach().cpu()
        return np.asarray(array.numpy() if array.dtype == torch.bool else array.double().numpy())

    def dtype(self, array: Any) -> str:
        return str(array.dtype).removeprefix("torch.")

    def broadcast(self, array: Any, shape: tuple[int, ...]) -> Any:
        return array.expand(shape)


class MlxFramework(Framework):
    """MLX arrays. Where operators run is no property of an array but of the thread: each test sets the device."""

    def __init__(self, name: str, device: Any, operators: Any = fusedops) -> None:
        super().__init__(name, operators)
        self.device = device

    def activate(self) -> None:
        import mlx.core as mx

        mx.set_default_device(self.device)

    def array(self, values: NDArray[Any], dtype: str) -> Any:
        import mlx.core as mx

        if values.dtype != bool and dtype != "float64":
            values = values.astype(np.float32)  # MLX's GPUs have no float64
        target = mx.bool_ if dtype == "bool" else getattr(mx, dtype)
        return mx.array(np.array(values, order="C"), target)

    def numpy(self, array: Any) -> NDArray[Any]:
        import mlx.core as mx

        if array.dtype == mx.bool_:
            return np.array(array)
        return np.array(array.astype(mx.float32)).astype(np.float64)

    def dtype(self, array: Any) -> str:
        return str(array.dtype).removeprefix("mlx.core.")

    def broadcast(self, array: Any, shape: tuple[int, ...]) -> Any:
        import mlx.core as mx

        return mx.broadcast_to(array, shape)


class Composites:
    """The public operators on a backend that runs composites on the CPU, as GPUs without kernels do."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend

    def __getattr__(self, name: str) -> Any:
        operator = getattr(fusedops, name)

        def run(*args: Any, **kwargs: Any) -> Any:
            with mock.patch.dict(backends._backends, {self.backend.ARRAY_TYPE: self.backend}):
                return operator(*args, **kwargs)

        return run


def _torch_composites() -> Composites:
    from fusedops.backends import torch as backend
    from fusedops.backends.torch import operators
    from fusedops.backends.torch.operators.gelu import FORMS

    def rms_norm(x: Any, weight: Any, residual: Any, *numbers: Any) -> Any:
        if residual is None:
            return operators.rms_norm.OPERATOR.checked_composite(x, weight, *numbers)[0]
        return operators.add_rms_norm.OPERATOR.checked_composite(x, residual, weight, *numbers)[:2]

    def gelu(x: Any, bias: Any, approximate: str) -> Any:
        return operators.gelu.OPERATOR.checked_composite(x, bias, FORMS.index(approximate))[0]

    def geglu(gate: Any, up: Any, approximate: str, gate_first: bool) -> Any:
        return operators.geglu.OPERATOR.checked_composite(gate, up, FORMS.index(approximate), gate_first)[0]

    def sdpa(*arguments: Any) -> Any:
        outputs = operators.sdpa.OPERATOR.checked_composite(*arguments[:-1])
        return outputs if arguments[-1] else outputs[0]

    def sdpa_varlen(*arguments: Any) -> Any:
        outputs = operators.sdpa_varlen.OPERATOR.checked_composite(*arguments[:-1])
        return outputs if arguments[-1] else outputs[0]

    return Composites(SimpleNamespace(**{**vars(backend), **locals()}))


def _mlx_composites() -> Composites:
    from fusedops import _mlx
    from fusedops.backends import mlx as backend

    names = ("rms_norm", "gelu", "geglu", "sdpa", "sdpa_varlen")
    functions = {name: getattr(_mlx, f"{name}_composite") for name in names}
    return Composites(SimpleNamespace(**{**vars(backend), **functions}))


class MetalKernels:
    """The public operators on numpy arrays by their Metal plans, which `run` carries out."""

    ARRAYS = types.MappingProxyType(
        {
            "rms_norm": ("x", "weight", "residual"),
            "gelu": ("x", "bias"),
            "geglu": ("gate", "up"),
            "sdpa": ("q", "k", "v", "mask", "sinks"),
            "sdpa_varlen": ("q", "k", "v", "cu_seqlens_q", "cu_seqlens_k", "sinks"),
        }
    )

    def __init__(self, run: Callable[[Any, list[Any]], list[NDArray[Any]]]) -> None:
        self.run = run

    def __getattr__(self, name: str) -> Any:
        operator = getattr(fusedops, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            arguments = inspect.signature(operator).bind(*args, **kwargs).arguments
            arrays = {array: arguments.get(array) for array in self.ARRAYS[name]}
            layouts = {array: None if value is None else numpy_backend.layout(value) for array, value in arrays.items()}
            outputs = self.run(operator(**{**arguments, **layouts}), list(arrays.values()))
            return outputs[0] if len(outputs) == 1 else tuple(outputs)

        return call


def _in_every_order(plan: Any, inputs: list[Any]) -> list[NDArray[Any]]:
    """Run a plan in the simulator in every order, all checks on; the order must make no difference, not in a bit."""
    from fusedops.sim import ORDERS
    from fusedops.sim.plans import run_plan

    first, *others = (run_plan(plan, inputs, order=order) for order in ORDERS)
    for outputs in others:
        for expected, output in zip(first, outputs, strict=True):
            assert expected.tobytes() == output.tobytes(), "the result depends on the order of threads"
    return first


@functools.cache
def _cuda_library(text: str) -> Any:
    from fusedops.sim import cuda

    return cuda.build(text)


def _on_cuda(plan: Any, inputs: list[Any]) -> list[NDArray[Any]]:
    from fusedops.sim.plans import run_plan

    return run_plan(plan, inputs, library=_cuda_library)


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


@functools.cache
def available() -> list[Framework]:
    """Return every backend that this machine can run."""
    frameworks: list[Framework] = [NumpyFramework("numpy")]
    if _has("torch"):
        frameworks += _torch_frameworks()
    if _has("mlx"):
        frameworks += _mlx_frameworks()
    return frameworks


@functools.cache
def everywhere() -> list[Framework]:
    """Return every backend, and the Metal kernels wherever else they can be run."""
    from fusedops.sim.cuda.driver import has_device

    frameworks = [*available(), NumpyFramework("metal-simulator", MetalKernels(_in_every_order))]
    if has_device():
        frameworks.append(NumpyFramework("metal-on-cuda", MetalKernels(_on_cuda)))
    return frameworks


def _torch_frameworks() -> list[Framework]:
    import torch

    frameworks: list[Framework] = [
        TorchFramework("torch-cpu", "cpu"),
        TorchFramework("torch-composite", "cpu", _torch_composites()),
    ]
    if torch.cuda.is_available():
        frameworks.append(TorchFramework("torch-cuda", "cuda"))
    if torch.backends.mps.is_available():
        frameworks.append(TorchFramework("torch-mps", "mps"))
    return frameworks


def _mlx_frameworks() -> list[Framework]:
    import mlx.core as mx

    frameworks: list[Framework] = [
        MlxFramework("mlx-cpu", mx.cpu),
        MlxFramework("mlx-composite", mx.cpu, _mlx_composites()),
    ]
    if mx.is_available(mx.gpu):
        frameworks.append(MlxFramework("mlx-metal" if mx.metal.is_available() else "mlx-cuda", mx.gpu))
    return frameworks
