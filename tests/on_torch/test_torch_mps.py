"""PyTorch's MPS encoder and the kernels behind it, on any machine: torch's shim is a double, the GPU the simulator.

Each test here runs others in a process of its own, where CPU tensors go that way: those of mps_suite.py, and a choice
of what every backend must pass. In float32 mostly, because every kernel is compiled first and the encoder does not
depend on its types. tests/test_semantics.py runs all kernels, without the encoder.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="macOS has the real shim")

TESTS = Path(__file__).resolve().parents[1]
SUITE = "on_torch/mps_suite.py"
NO_WAY = "test_no_way_to_pass_parameters"
FEATURES = {  # by file; an empty list is all of it
    "test_torch_library": [],
    "test_torch_compile": ["test_block", "test_mask_sinks_and_logsumexp", "test_transforms_inside", "test_export"],
    "test_torch_gradients": ["test_operator", "test_each_gradient_alone", "test_empty"],
    "test_torch_transforms": ["test_vmap", "test_vmap_with_shared_keys_and_groups", "test_grad_of_vmap"],
    "test_torch_modes": [
        "test_variants_agree",
        "test_checkpoint",
        "test_autocast_like_torch",
        "test_autocast_gradients_and_compile",
        "test_subclasses",
        "test_negated_view",
        "test_batched_variants_without_autograd",
        "test_error_leaves_no_references",
    ],
}


def run_through_double(selection: list[str], keywords: str, passes_bytes: str = "C function") -> tuple[int, int]:
    """Run tests in a process with the double; return how many passed, and how many kernels they launched."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "doubles.torch_mps_plugin", "-p", "no:cacheprovider"]
    paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [*command, "--passes-bytes", passes_bytes, "-k", keywords, *selection],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    launched = re.search(r"(\d+) kernels launched", done.stdout)
    assert passed and launched and "skipped" not in done.stdout, done.stdout
    return int(passed[1]), int(launched[1])


def test_encoder() -> None:
    passed, launched = run_through_double([SUITE], f"not {NO_WAY}")
    assert passed >= 42 and launched >= 150


def test_parameters_by_the_cpp_method() -> None:
    """As torch 2.10 to 2.13 offer it."""
    passed, launched = run_through_double([SUITE], "every_operator", "C++ method")
    assert passed == 6 and launched >= 6


def test_no_way_to_pass_parameters_is_said() -> None:
    passed, launched = run_through_double([SUITE], NO_WAY, "nothing")
    assert passed == 1 and launched == 0


def test_features() -> None:
    """Checks of torch.library, torch.compile, gradients, transforms and modes."""
    selection = []
    for file, names in FEATURES.items():
        selection += [f"on_torch/{file}.py{name and '::'}{name}" for name in names or [""]]
    passed, launched = run_through_double(selection, "not float16")
    assert passed >= 200 and launched >= 500


def test_semantics_and_pains() -> None:
    """The shared cases; of attention's the layouts, the sinks, empty ones and keys that are split.

    Not those of many lengths (pain 10), of head dimensions (18) and scores (3), which the encoder does not depend on,
    and of views that span more than memory (pains 3 and 4), which the double would copy.
    """
    attention = "not test_sdpa or layout or sinks or 3000 or 4x0 or 3x0"
    cases = f"test_semantics and torch-cpu-float32 and not any_magnitude and ({attention})"
    pains = "test_pain and torch-cpu and not float16 and not pain_10 and not pain_18 and not pain_3_ and not pains_3"
    passed, launched = run_through_double(["test_semantics.py", "test_pains.py"], f"({cases}) or ({pains})")
    assert passed >= 180 and launched >= 250
