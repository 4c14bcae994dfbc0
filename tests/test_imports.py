"""fusedops loads no framework by itself, loads fast, and works with any of them missing."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import fusedops

# Makes modules unavailable as if they were not installed.
BLOCK = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""

USES = {
    "numpy": "import numpy as np; x = np.random.default_rng(0).standard_normal((1, 2, 3, 8), np.float32)",
    "torch": "import torch; x = torch.randn(1, 2, 3, 8)",
    "mlx": "import mlx.core as mx; x = mx.random.normal((1, 2, 3, 8))",
}
CALLS = """
import fusedops
y = fusedops.sdpa(x, x, x, causal=True)
assert type(y) is type(x) and y.shape == x.shape
for f in (fusedops.rms_norm, fusedops.gelu, fusedops.geglu):
    assert type(f(x)) is type(x)
"""


def run(program: str) -> str:
    """Run a program in an interpreter of its own and return what it printed."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_fusedops_imports_no_framework() -> None:
    program = "import sys, fusedops; print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'mlx', 'numpy'}))"
    assert run(program).strip() == "[]"


@pytest.mark.parametrize("used", USES)
def test_works_with_one_framework_alone(used: str) -> None:
    pytest.importorskip({"numpy": "numpy", "torch": "torch", "mlx": "mlx.core"}[used])
    blocked = {"torch", "mlx"} - {used}
    program = BLOCK.format(blocked=blocked) + USES[used] + CALLS
    program += f"assert not {blocked!r} & {{m.split('.')[0] for m in sys.modules}}"
    run(program)


def test_other_arrays_are_refused_without_any_framework() -> None:
    program = BLOCK.format(blocked={"torch", "mlx", "numpy"}) + (
        "import fusedops\ntry: fusedops.gelu([1.0])\nexcept TypeError as error: print(error)\n"
    )
    assert "x must be a torch.Tensor, an mlx.core.array or a numpy.ndarray, got list" in run(program)


def test_the_version_is_the_package_s() -> None:
    assert fusedops.__version__ == metadata.version("fusedops")


def test_a_torch_without_the_interface_is_named_with_the_cure() -> None:
    program = (
        "from fusedops import _torch\n"
        "try: _torch.load('a/libtorch_cpu.so')\n"  # in a process that has loaded no torch nothing can be resolved
        "except ImportError as error: print(error)\n"
    )
    message = run(program)
    assert "fusedops needs torch 2.10 or newer" in message
    assert 'pip install --upgrade "torch>=2.10"' in message


def test_no_iostreams() -> None:
    """Where torch's CUDA wheels bring a second C++ runtime, formatting a number with iostreams crashes the process."""
    sources = [path for path in (Path(__file__).parents[1] / "csrc").rglob("*") if path.suffix in (".h", ".cpp")]
    assert len(sources) > 50
    assert not [path.name for path in sources if re.search(r"#include <\w*stream>", path.read_text())]
