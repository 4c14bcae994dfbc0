"""fusedops.explain says what would run, in words that are true."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fusedops
from fusedops.verification.frameworks import Framework, available


def arrays(framework: Framework, *shapes: tuple[int, ...]) -> list[Any]:
    return [framework.array(np.random.default_rng(0).normal(size=shape), "float32") for shape in shapes]


@pytest.mark.parametrize("framework", [f for f in available() if f.operators is fusedops], ids=str)
def test_each_backend_says_how_it_runs(framework: Framework) -> None:
    framework.activate()
    (x, weight) = arrays(framework, (8, 4096), (4096,))
    explanation = fusedops.explain(fusedops.rms_norm, x, weight, weight_offset=1.0)
    path = "cpu" if framework.name in ("numpy", "torch-cpu", "mlx-cpu") else None
    assert explanation.operator == "rms_norm"
    assert path in (explanation.execution.path, None)
    assert explanation.execution.reason in str(explanation)
    assert "rms_norm<float, 4> of metal/rms_norm.metal: 8 x 1 x 1 threadgroups" in str(explanation)


def test_layout_decides_the_kernel() -> None:
    """Strided rows cannot be read in vectors, and few queries are worth another kernel than many."""
    x = np.ones((64, 128), np.float32)
    assert fusedops.explain("gelu", x).plan.launches[0].template_arguments == ["float", "4"]
    assert fusedops.explain("gelu", x.T).plan.launches[0].template_arguments == ["float", "1"]
    assert fusedops.explain("gelu", x[:, 1:]).plan.launches[0].template_arguments == ["float", "1"]
    q, keys = np.ones((1, 8, 100, 64), np.float32), np.ones((1, 8, 5000, 64), np.float32)
    assert [launch.kernel for launch in fusedops.explain("sdpa", q, keys, v=keys).plan.launches] == ["sdpa_prefill"]
    for queries, kernel in ((1, "sdpa_decode_vector"), (2, "sdpa_decode_matrix")):
        decode = fusedops.explain("sdpa", q[:, :, :queries], keys, keys, causal=True)
        assert [launch.kernel for launch in decode.plan.launches] == [kernel, "sdpa_decode_combine"]
        assert "scratch memory: " in str(decode)


def test_nothing_to_launch() -> None:
    assert "every result is empty" in str(fusedops.explain("gelu", np.ones((0, 5), np.float32)))


def test_bad_calls_are_refused_as_the_operators_refuse_them() -> None:
    x = np.ones((4, 8), np.float32)
    with pytest.raises(ValueError, match=r"weight must have shape \(8,\)"):
        fusedops.explain("rms_norm", x, np.ones(7, np.float32))
    with pytest.raises(ValueError, match=r"operator must be one of .*, got softmax"):
        fusedops.explain("softmax", x)
    with pytest.raises(TypeError, match=r"weight must be a numpy\.ndarray as the first array is, got list"):
        fusedops.explain("rms_norm", x, [1.0] * 8)
