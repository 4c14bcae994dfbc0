"""Attention needs memory for its output and some tiles, and none for the scores: measured on a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

MEGABYTE = 1 << 20

# Resets the high-water mark of resident memory after the inputs are there, and prints by how much the call raised it.
PROGRAM = """
import sys
from pathlib import Path
import numpy as np

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

framework, heads, kv_heads, length, masked = sys.argv[1], *map(int, sys.argv[2:])
random = np.random.default_rng(0)
arrays = [random.standard_normal((1, h, length, 64), np.float32) for h in (heads, kv_heads, kv_heads)]
if masked:  # one for all heads, its keys apart
    arrays.append(random.standard_normal((length, length), np.float32).T)
if framework == "torch":
    import torch
    arrays = [torch.from_numpy(array) for array in arrays]
    arrays[3:] = [mask.expand(1, heads, length, length) for mask in arrays[3:]]
elif framework == "mlx":
    import mlx.core as mx
    mx.set_default_device(mx.cpu)
    arrays = [mx.array(array) for array in arrays]
    arrays[3:] = [mx.broadcast_to(mx.contiguous(mask.T).T, (1, heads, length, length)) for mask in arrays[3:]]
    mx.eval(arrays)
else:
    arrays[3:] = [np.broadcast_to(mask, (1, heads, length, length)) for mask in arrays[3:]]
import fusedops

def run(q, k, v, mask=None):
    out = fusedops.sdpa(q, k, v, mask=mask, causal=True)
    if framework == "mlx":
        mx.eval(out)

run(*(array[:, :, :64] for array in arrays[:3]))
Path("/proc/self/clear_refs").write_text("5")
before = peak()
run(*arrays)
print(peak() - before)
"""


def growth_of_peak(framework: str, heads: int, kv_heads: int, length: int, masked: bool = False) -> int:
    """Return by how many bytes a call raises the process's peak."""
    command = [sys.executable, "-c", PROGRAM, framework, *map(str, (heads, kv_heads, length, int(masked)))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's /proc"),
    pytest.mark.parametrize("framework", ["numpy", "torch", "mlx"]),
]


def test_pain_19_no_memory_for_the_scores(framework: str) -> None:
    """The score matrix would take 2 GB; slowness beside matmul + softmax came from writing it (pt#178545)."""
    if framework != "numpy":
        pytest.importorskip({"torch": "torch", "mlx": "mlx.core"}[framework])
    output = 8 * 8192 * 64 * 4
    assert growth_of_peak(framework, 8, 8, 8192) < output + 64 * MEGABYTE


def test_pain_20_no_memory_for_repeated_heads(framework: str) -> None:
    """K and V repeated for 16 query heads would take 256 MB (pt#183280)."""
    if framework != "numpy":
        pytest.importorskip({"torch": "torch", "mlx": "mlx.core"}[framework])
    output = 16 * 2048 * 64 * 4
    assert growth_of_peak(framework, 16, 1, 2048) < output + 16 * MEGABYTE


def test_no_memory_for_repeated_masks(framework: str) -> None:
    """A mask whose keys lie apart is copied, 16 MB; repeated for 16 heads it would take 256 MB."""
    if framework != "numpy":
        pytest.importorskip({"torch": "torch", "mlx": "mlx.core"}[framework])
    output = 16 * 2048 * 64 * 4
    assert growth_of_peak(framework, 16, 1, 2048, masked=True) < output + (16 + 16) * MEGABYTE
