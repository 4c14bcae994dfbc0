"""Runs every test here on each device that MLX has.

On Linux the tests marked `metal` run on a double of MLX's Metal device as well: there the functions of fusedops._mlx
are replaced by those of tests/doubles/mlx_metal.py.
"""

from __future__ import annotations

import sys

import pytest

mx = pytest.importorskip("mlx.core")

OPERATORS = ("rms_norm", "gelu", "geglu", "sdpa", "sdpa_varlen")
DOUBLE = "metal double"


def pytest_configure(config):
    config.addinivalue_line("markers", "metal(only=False): run on a double of MLX's Metal device, too or only")


def pytest_generate_tests(metafunc):
    marker = metafunc.definition.get_closest_marker("metal")
    devices = {"cpu": mx.cpu} | ({"gpu": mx.gpu} if mx.is_available(mx.gpu) else {})
    if marker and marker.kwargs.get("only"):
        devices = {}
    if marker and sys.platform == "linux":
        devices[DOUBLE] = DOUBLE
    metafunc.parametrize("device", list(devices.values()), ids=list(devices), indirect=True)


def pytest_collection_modifyitems(items):
    """Leave out composites on the double, which are the same as on the CPU."""

    def is_wanted(item):
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        return (parameters.get("device"), parameters.get("path")) != (DOUBLE, "composite")

    items[:] = filter(is_wanted, items)


@pytest.fixture(scope="session")
def metal_double():
    """The double of MLX's Metal device: a module like fusedops._mlx."""
    from doubles import mlx_metal

    return mlx_metal.load(mlx_metal.build())


@pytest.fixture(autouse=True)
def device(request, monkeypatch):
    if request.param != DOUBLE:
        with mx.stream(request.param):
            yield request.param
        return
    from fusedops import _mlx
    from fusedops.backends import mlx as backend

    double = request.getfixturevalue("metal_double")
    for module in (_mlx, backend):
        for name in OPERATORS:
            monkeypatch.setattr(module, name, getattr(double, name))
    with mx.stream(mx.cpu):
        yield mx.cpu


@pytest.fixture(autouse=True)
def seed():
    mx.random.seed(7)
