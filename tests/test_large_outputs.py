"""Outputs that no cache holds are written another way: the same numbers as in pieces that a cache does hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import fusedops
from fusedops.verification.frameworks import Framework, available

CPU = [framework for framework in available() if str(framework) in ("numpy", "torch-cpu", "mlx-cpu")]
ROWS = 1600
PIECE = 50  # rows
WIDTHS = [8192, 8209]  # rows that start at cache lines, and ones that do not

Arrays = list[NDArray[np.float32]]
OPERATORS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "rms_norm": lambda x, other, weight: fusedops.rms_norm(x, weight),
    "rms_norm without weight": lambda x, other, weight: fusedops.rms_norm(x),
    "add + rms_norm": lambda x, other, weight: fusedops.rms_norm(x, weight, residual=other),
    "gelu": lambda x, other, weight: fusedops.gelu(x),
    "gelu with bias": lambda x, other, weight: fusedops.gelu(x, bias=weight),
    "geglu": lambda x, other, weight: fusedops.geglu(x, other),
}


@pytest.fixture(scope="module", params=WIDTHS)
def inputs(request: pytest.FixtureRequest) -> Arrays:
    random = np.random.default_rng(0)
    shapes = ((ROWS, request.param), (ROWS, request.param), (request.param,))
    return [random.standard_normal(shape, np.float32) for shape in shapes]


@pytest.mark.parametrize("framework", CPU, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_large_outputs_are_those_of_small_ones(framework: Framework, dtype: str, operator: str, inputs: Arrays) -> None:
    x, other, weight = (framework.array(values, dtype) for values in inputs)
    whole = as_tuple(OPERATORS[operator](x, other, weight))
    for first in (0, ROWS // 2, ROWS - PIECE):
        rows = slice(first, first + PIECE)
        piece = as_tuple(OPERATORS[operator](x[rows], other[rows], weight))
        for large, small in zip(whole, piece, strict=True):
            np.testing.assert_array_equal(framework.numpy(large[rows]), framework.numpy(small))


def as_tuple(outputs: Any) -> tuple[Any, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)
