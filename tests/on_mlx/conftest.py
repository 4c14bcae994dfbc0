"""Runs every test here on each device that MLX has."""

from __future__ import annotations

import pytest

mx = pytest.importorskip("mlx.core")

DEVICES = [device for device in (mx.cpu, mx.gpu) if mx.is_available(device)]


@pytest.fixture(autouse=True, params=DEVICES, ids=["cpu", "gpu"][: len(DEVICES)])
def device(request):
    with mx.stream(request.param):
        yield request.param


@pytest.fixture(autouse=True)
def seed():
    mx.random.seed(7)
