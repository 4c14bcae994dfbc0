"""What attention keeps in device memory, by its plans, and what it reads from there, as the simulator counts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import fusedops
from fusedops.backends import numpy as numpy_backend
from fusedops.sim import Cost, build
from fusedops.sim.plans import bind_plan


def arrays(heads: tuple[int, int], lengths: tuple[int, int], dim: int) -> list[Any]:
    """Return q, k, v in float16."""
    shapes = ((heads[0], lengths[0]), (heads[1], lengths[1]), (heads[1], lengths[1]))
    return [np.zeros((1, own_heads, length, dim), np.float16) for own_heads, length in shapes]


def plan_of(inputs: list[Any], mask: Any = None) -> Any:
    """Return the plan of a causal call."""
    layouts = [None if array is None else numpy_backend.layout(array) for array in (*inputs, mask)]
    return fusedops.sdpa(*layouts[:3], mask=layouts[3], causal=True)


@pytest.mark.parametrize("queries", [1, 8, 40, 8192])
def test_pain_19_no_memory_for_the_scores(queries: int) -> None:
    """Unfused attention writes its scores and reads them (pt#178545). Keys that are split leave a few sums instead."""
    q, k, v = arrays((8, 2), (queries, 8192), 128)
    plan = plan_of([q, k, v])
    assert sum(math.prod(shape) for _, shape in plan.outputs) == q.size
    assert 4 * sum(math.prod(shape) for _, shape in plan.scratch) <= 0.25 * (q.nbytes + k.nbytes + v.nbytes)


@pytest.mark.parametrize("heads", [(8, 2), (16, 1)], ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_pain_20_decode_reads_shared_heads_once(heads: tuple[int, int], masked: bool) -> None:
    """GQA copied K and V for every query head (pt#183280). Here not even caches are asked for them again."""
    inputs = arrays(heads, (1, 1500), 64)
    mask = np.ones((heads[0], 1, 1500), bool) if masked else None
    launches, _ = bind_plan(plan_of(inputs, mask), [*inputs, mask, None])
    cost = sum((launch.on(build(launch.text, count=True).count) for launch in launches), start=Cost())
    compulsory = sum(array.nbytes for array in (*inputs, mask) if array is not None)
    assert compulsory <= cost.device_loaded_distinct <= cost.device_loaded_by_threadgroups <= 1.03 * compulsory
