"""A pytest plugin that runs the session's CPU tensors through torch's MPS encoder and the kernels (see torch_mps.py).

Loaded with `-p doubles.torch_mps_plugin`, before any test module asks for torch's operators.
"""

from __future__ import annotations

from typing import Any

import pytest

from . import torch_mps


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--passes-bytes", default="C function", choices=list(torch_mps.PASSES_BYTES))


def pytest_configure(config: pytest.Config) -> None:
    config.double = torch_mps.install(config.getoption("--passes-bytes"))  # type: ignore[attr-defined]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    terminalreporter.write_line(f"{len(config.double.dispatched)} kernels launched")  # type: ignore[attr-defined]


@pytest.fixture
def double(request: pytest.FixtureRequest) -> torch_mps.Double:
    """Return the double."""
    found: torch_mps.Double = request.config.double  # type: ignore[attr-defined]
    return found
