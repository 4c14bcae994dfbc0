"""Makes this folder's helper modules importable from its subfolders, puts tests on their device, sets hypothesis up."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Without it MLX multiplies float32 matrices in TF32 on CUDA; read at the first product.
os.environ.setdefault("MLX_ENABLE_TF32", "0")
# Workers share the cores: a thread of torch's that waits for work must not take the core of one that does some.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

sys.path.insert(0, str(Path(__file__).parent))

settings.register_profile(
    "default",
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("fuzz", settings.get_profile("default"), max_examples=1000, derandomize=False)
settings.load_profile("default")


@pytest.fixture(autouse=True)
def _on_its_device(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make a test that is given a framework run on that framework's device."""
    if "framework" in request.fixturenames and hasattr(request.getfixturevalue("framework"), "activate"):
        request.getfixturevalue("framework").activate()
    yield
