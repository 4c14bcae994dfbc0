"""With `deterministic` no bit of a row depends on the batch, on other rows or on the number of queries (pain 17)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fusedops import _core
from fusedops.backends import numpy as numpy_backend
from fusedops.sim.plans import run_plan

Floats = NDArray[Any]
LOWER_RIGHT = 1


def layout(array: Floats) -> Any:
    described = numpy_backend.layout(array)
    return described.dtype, described.shape, described.strides, described.byte_offset


def plan_of(q: Floats, k: Floats, v: Floats, *, left: int | None = None, softcap: float | None = None) -> _core.Plan:
    """Return the plan of a causal, deterministic call."""
    options = (LOWER_RIGHT, None, left, None, softcap, True, True)
    return _core.plan_sdpa(layout(q), layout(k), layout(v), None, None, *options)


def run(q: Floats, k: Floats, v: Floats, **options: Any) -> list[Floats]:
    """Return out and the logsumexp."""
    return run_plan(plan_of(q, k, v, **options), [q, k, v, None, None])


def assert_same_bits(actual: list[Floats], expected: list[Floats]) -> None:
    for a, e in zip(actual, expected, strict=True):
        assert a.tobytes() == np.ascontiguousarray(e).tobytes()


PREFILL, DECODE = (40, 40), (264, 24)  # dimensions of which one kernel or the other takes all numbers of queries


@pytest.mark.parametrize(
    ("dtype", "options"),
    [("float32", {}), ("float16", {}), ("float32", {"left": 37}), ("float16", {"softcap": 2.0})],
    ids=str,
)
@pytest.mark.parametrize("dims", [PREFILL, DECODE], ids=str)
def test_a_row_alone_is_the_row_among_many(dtype: str, options: dict[str, Any], dims: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    (batch, heads, kv_heads, queries, keys), group = (2, 6, 2, 37, 150), 3
    shapes = [(batch, heads, queries, dims[0]), (batch, kv_heads, keys, dims[0]), (batch, kv_heads, keys, dims[1])]
    q, k, v = (random.normal(size=shape).astype(dtype) for shape in shapes)
    v[0, 0, 120], v[1, 1, 140] = np.nan, np.inf  # where they are seen, prefill's threadgroups start over
    everything = run(q, k, v, **options)
    assert np.isfinite(everything[0][0, group:]).all()

    for count in (1, 5, 36):  # the last queries of one sequence
        last = run(q[1:, :, -count:], k[1:], v[1:], **options)
        assert_same_bits(last, [result[1:, :, -count:] for result in everything])
    for query in (0, 30):  # decoding, at the time of an earlier one
        seen = keys - queries + query + 1
        then = run(q[:, :, query : query + 1], k[:, :, :seen], v[:, :, :seen], **options)
        assert_same_bits(then, [result[:, :, query : query + 1] for result in everything])
    alone = run(q[:1, group : group + 1], k[:1, 1:], v[:1, 1:], **options)  # a query head without the others
    assert_same_bits(alone, [result[:1, group : group + 1] for result in everything])


@pytest.mark.parametrize("dims", [(128, 128), (576, 512)], ids=str)
def test_nothing_but_the_problem_of_a_row_chooses_the_kernel(dims: tuple[int, int]) -> None:
    """The same kernel and tiles, and no splits, from one query to many, however few threadgroups that makes."""

    def launches(batch: int, queries: int, keys: int) -> list[str]:
        def zeros(*shape: int) -> Floats:
            return np.broadcast_to(np.float16(0), (*shape[:-1], 1)).repeat(shape[-1], -1)

        q, k, v = (zeros(batch, *shape) for shape in ((4, queries, dims[0]), (1, keys, dims[0]), (1, keys, dims[1])))
        return [launch.name for launch in plan_of(q, k, v).launches]

    assert launches(1, 1, 30000) == launches(7, 1, 30000) == launches(1, 300, 30000) == launches(1, 9, 64)
    assert len(launches(1, 1, 30000)) == 1
