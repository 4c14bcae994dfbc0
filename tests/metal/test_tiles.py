"""The prefill kernel's tiles: which dimensions it is compiled for, and the threadgroup memory that explain() tells."""

from __future__ import annotations

import itertools
import re

import pytest

import fusedops
from fusedops.backends.plans import ArrayLayout
from fusedops.verification.cases import DTYPES

UNPADDED = (32, 40, 48, 64, 72, 80, 88, 96, 112, 128, 160, 192, 256)
UNEQUAL = ((192, 128), (96, 64), (128, 192), (256, 32))


def compiled(dtype: str, head_dim: int, value_dim: int) -> tuple[int, int, float]:
    """Return the kernel's head_dim and value_dim, and its threadgroup memory in KiB."""
    q, k, v = (
        ArrayLayout(dtype, (1, 1, 100, dim), (100 * dim, 100 * dim, dim, 1)) for dim in (head_dim, head_dim, value_dim)
    )
    plan = fusedops.sdpa(q, k, v)
    [launch] = plan.launches
    assert launch.kernel == "sdpa_prefill"
    memory = re.search(r"threadgroup memory ([\d.]+) KiB", "\n".join(plan.description))
    assert memory
    return int(launch.template_arguments[1]), int(launch.template_arguments[2]), float(memory[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dimension_has_a_tile(dtype: str) -> None:
    """About half of the 32 KiB at most, so that two threadgroups share a core; no padding for models' dimensions."""
    for dims in (*((dim, dim) for dim in range(1, 257)), *UNEQUAL, *itertools.product((1, 33, 100, 256), repeat=2)):
        head_dim, value_dim, memory = compiled(dtype, *dims)
        assert head_dim >= dims[0] and value_dim >= dims[1]
        assert head_dim % 8 == 0 and value_dim % 8 == 0
        assert 0 < memory <= 17
        if (dims[0] in UNPADDED and dims[0] == dims[1]) or dims in UNEQUAL:
            assert (head_dim, value_dim) == dims
