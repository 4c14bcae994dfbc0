"""What a user reads who has another MLX than the one that fusedops was built for."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import SimpleNamespace

import mlx.core as mx
import pytest

from fusedops import _build_config
from fusedops.backends import mlx as backend


def load_again():
    """Run the backend's module once more, under another name."""
    specification = importlib.util.find_spec(backend.__name__)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_backend_loads():
    assert load_again().ARRAY_TYPE is mx.array


def test_another_mlx_version(monkeypatch):
    monkeypatch.setattr(_build_config, "MLX_VERSION", "0.31.0")
    pattern = rf'built for mlx 0\.31\.0, but mlx {mx.__version__} is installed.*pip install "mlx.*==0\.31\.0"'
    with pytest.raises(ImportError, match=pattern):
        load_again()


def test_built_without_mlx(monkeypatch):
    monkeypatch.setattr(_build_config, "MLX_VERSION", "")
    with pytest.raises(ImportError, match=r"built without MLX support.*pip install"):
        load_again()


def test_native_module_that_cannot_be_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "fusedops._mlx", None)
    with pytest.raises(ImportError, match=r"fusedops\._mlx cannot be loaded.*pip install --force-reinstall \"mlx"):
        load_again()


def test_another_nanobind(monkeypatch):
    def describe(array):
        raise TypeError("describe(): incompatible function arguments")

    monkeypatch.setitem(sys.modules, "fusedops._mlx", SimpleNamespace(describe=describe))
    with pytest.raises(ImportError, match=rf"nanobind {_build_config.NANOBIND_VERSION}.*pip install --force-reinstall"):
        load_again()


@pytest.mark.parametrize(
    ("platform", "packages", "requirement"),
    [
        ("darwin", ["mlx", "mlx-metal"], "mlx==1.2.3"),
        ("linux", ["mlx", "mlx-cpu"], "mlx[cpu]==1.2.3"),
        ("linux", ["mlx", "mlx-cuda-12"], "mlx[cuda12]==1.2.3"),
        ("linux", ["mlx", "mlx-cuda-13"], "mlx[cuda13]==1.2.3"),
    ],
)
def test_requirement(monkeypatch, platform, packages, requirement):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr("importlib.metadata.distributions", lambda: [SimpleNamespace(name=name) for name in packages])
    assert backend._requirement("1.2.3") == requirement
