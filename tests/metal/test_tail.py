"""Gelu keeps its relative error in the negative tail, which a rule relative to the largest value cannot see."""

from __future__ import annotations

import numpy as np

from fusedops.verification import reference
from fusedops.verification.frameworks import everywhere


def test_relative_error_of_the_float32_tail() -> None:
    framework = next(framework for framework in everywhere() if framework.name == "metal-simulator")
    x = framework.array(np.linspace(-13, -0.01, 20001), "float32")
    exact = reference.gelu(framework.numpy(x), "none")
    y = framework.numpy(framework.operators.gelu(x))
    assert np.abs(y / exact - 1).max() < 16 * 2.0**-24
