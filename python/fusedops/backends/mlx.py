"""MLX arrays, by the native module _mlx, which fits one version of MLX only."""

from __future__ import annotations

import importlib
import math
import sys
from importlib import metadata
from types import ModuleType

import mlx.core as mx

from fusedops import _build_config, _core
from fusedops.backends import Execution, plain
from fusedops.backends.plans import ArrayLayout

_INSTALLED: str = vars(mx)["__version__"]  # which MLX's stubs leave out
_REBUILD = "pip install --force-reinstall --no-deps --no-cache-dir fusedops"


def _load() -> ModuleType:
    """Import _mlx, or raise an ImportError that says what does not fit and which command mends it.

    MLX's C++ interface changes with every patch release and nanobind's with some, so a module built for another version
    fails with undefined symbols, with puzzling TypeErrors (mlx.core.array is no mlx::core::array) or not at all.
    """
    built_for = _build_config.MLX_VERSION
    if not built_for:
        raise ImportError(f"fusedops was built without MLX support; to build it with MLX: {_REBUILD}")
    if built_for != _INSTALLED:
        raise ImportError(
            f"fusedops was built for mlx {built_for}, but mlx {_INSTALLED} is installed; "
            f'install the one it was built for: pip install "{_requirement(built_for)}"'
        )
    reinstall = f'reinstall both: pip install --force-reinstall "{_requirement(built_for)}" && {_REBUILD}'
    try:
        module = importlib.import_module("fusedops._mlx")
    except ImportError as error:
        raise ImportError(f"fusedops._mlx cannot be loaded with mlx {_INSTALLED} ({error}); {reinstall}") from error
    try:
        module.describe(mx.array(0.0))
    except TypeError as error:
        raise ImportError(
            f"fusedops._mlx, built with nanobind {_build_config.NANOBIND_VERSION}, does not know the arrays of the "
            f"installed mlx {_INSTALLED}, built with another nanobind; {reinstall}"
        ) from error
    return module


def _requirement(version: str) -> str:
    """Return the pip requirement of mlx and, where its backend is a package of its own, of that backend."""
    if sys.platform == "darwin":
        return f"mlx=={version}"
    installed = {distribution.name for distribution in metadata.distributions()}
    backends = {"mlx-cuda-13": "cuda13", "mlx-cuda-12": "cuda12"}
    extra = next((extra for package, extra in backends.items() if package in installed), "cpu")
    return f"mlx[{extra}]=={version}"


_native = _load()

ARRAY_TYPE = mx.array
ARRAY_TYPE_NAME = "mlx.core.array"

describe = _native.describe
rms_norm = _native.rms_norm
gelu = _native.gelu
geglu = _native.geglu
sdpa = _native.sdpa
sdpa_varlen = _native.sdpa_varlen

is_overridden = None
in_public_terms = plain.in_public_terms
is_tracing = plain.is_tracing
missing_memory = plain.missing_memory
refusal = plain.refusal


def known_integers(array: mx.array) -> None:
    """Return None: the native module looks at the values of arrays that are evaluated."""


def layout(array: mx.array) -> ArrayLayout:
    """Return the layout of a contiguous array like the given one, whose own is unknown before it is evaluated."""
    dtype, shape = describe(array)
    strides = tuple(math.prod(max(extent, 1) for extent in shape[axis + 1 :]) for axis in range(len(shape)))
    return ArrayLayout(dtype, shape, strides)


def execution(array: mx.array) -> Execution:
    """Return how operators on the current default device run."""
    if mx.default_device().type == mx.cpu:
        return Execution("cpu", f"fused C++ kernels ({_core.instruction_set()}, {_core.threads()} threads)")
    if mx.metal.is_available():
        return Execution("metal", "fused Metal kernels through MLX's command encoder")
    return Execution("composite", "MLX's own operations, because there are no fused kernels for MLX on CUDA")


def device(array: mx.array) -> str:
    """Return an empty string: MLX's arrays have no device, its operations have."""
    return ""


def kind(array: mx.array) -> str:
    """Return the type's name."""
    return ARRAY_TYPE_NAME


def gradients(operator: str, array: mx.array) -> str:
    """Return what computes an operator's gradients: attention has no kernels for them, and only CPUs have others."""
    has_kernels = mx.default_device().type == mx.cpu and not operator.startswith("sdpa")
    return "kernels" if has_kernels else "composite"
