"""fusedops' CPU kernels alone: inputs and outputs are torch tensors, the outputs the same in every call.

numpy has no bfloat16: the kernels take such arrays as the uint16 that hold their bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from bench.cases import Case, Geglu, Gelu, RmsNorm
from bench.framework import EPS, KERNEL, Implementation
from fusedops import _core

SMALLEST = 2**20
"""Bytes of a float32 case, below which the time is the call's."""


def kernel_alone(case: Case) -> dict[str, Implementation]:
    """The implementation KERNEL where there is one for `case`."""
    if type(case) not in KERNELS or case.bytes_moved(4) < SMALLEST:
        return {}
    kernel = KERNELS[type(case)](case)
    num_outputs = 2 if isinstance(case, RmsNorm) and case.residual else 1
    outputs: list[torch.Tensor] = []

    def run(*arrays: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if not outputs:
            outputs.extend(torch.empty_like(arrays[0]) for _ in range(num_outputs))
        kernel(*map(_native, arrays), *map(_native, outputs))
        return tuple(outputs)

    return {KERNEL: run}


def _native(tensor: torch.Tensor) -> np.ndarray:
    array: np.ndarray = (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array


def _rms_norm(case: RmsNorm) -> Callable[..., None]:
    if case.residual:
        return lambda x, weight, residual, y, total: _core.rms_norm(x, weight, residual, EPS, 0.0, y, total)
    return lambda x, weight, y: _core.rms_norm(x, weight, None, EPS, 0.0, y, None)


def _gelu(case: Gelu) -> Callable[..., None]:
    return lambda x, y: _core.gelu(x, None, case.approximate, y)


def _geglu(case: Geglu) -> Callable[..., None]:
    return lambda gate, up, y: _core.geglu(gate, up, case.approximate, y)


KERNELS: dict[type[Case], Callable[[Any], Callable[..., None]]] = {RmsNorm: _rms_norm, Gelu: _gelu, Geglu: _geglu}
