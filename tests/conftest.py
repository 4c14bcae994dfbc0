"""Makes the helper modules of this folder importable from its subfolders too, and puts each test on its device."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _on_its_device(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make a test that is given a framework run on that framework's device."""
    if "framework" in request.fixturenames and hasattr(request.getfixturevalue("framework"), "activate"):
        request.getfixturevalue("framework").activate()
    yield
