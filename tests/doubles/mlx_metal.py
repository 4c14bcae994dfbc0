"""A double of MLX's Metal device: fusedops._mlx, compiled such that nodes on the CPU do what they would do on a GPU.

csrc/mlx and the plans are compiled as they are, MLX's header for Metal is replaced by mlx_headers, and a launch runs
its kernel's text in the simulator. The double is stricter than MLX:

- a launch finds only the arrays that were registered for it, and may write only those registered as outputs: all that
  MLX needs to know to keep launches apart that depend on one another;
- outputs and scratch hold NaN before;
- somebody must keep an array's memory until the launches have run;
- libraries of one name must have one text.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import subprocess
import sys
import sysconfig
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import mlx.core as mx
import nanobind
import numpy as np

from fusedops.sim import AtOffset, Library
from fusedops.sim.compiler import host_compiler
from fusedops.sim.plans import checked_library
from fusedops.sim.run.cache import cached
from fusedops.sim.run.compile import run_compiler

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MLX = Path(mx.__file__).parent
NANOBIND = Path(nanobind.__file__).parent
FLAGS = [
    *("-std=c++20", "-O0", "-fPIC", "-fvisibility=hidden", "-fno-strict-aliasing"),
    *("-DNB_DOMAIN=mlx", "-DNB_COMPACT_ASSERTIONS"),
    *(f"-I{HERE / 'mlx_headers'}", f"-I{ROOT / 'csrc'}", f"-I{ROOT}", f"-I{MLX / 'include'}"),
    *(
        f"-I{path}"
        for path in (nanobind.include_dir(), NANOBIND / "ext/robin_map/include", sysconfig.get_path("include"))
    ),
]


def sources() -> list[Path]:
    """Return the files of the module, but the one that metal/embed.py generates."""
    encoder = [path for path in (ROOT / "csrc/mlx").glob("*.cpp") if path.name != "no_metal.cpp"]
    core = [path for path in (ROOT / "csrc/core").glob("*.cpp") if not path.stem.endswith("module")]
    plans = (ROOT / "csrc/ops").glob("*.cpp")
    return [HERE / "mlx_metal.cpp", *encoder, *core, *plans, Path(nanobind.source_dir()) / "nb_combined.cpp"]


def build(replaced: dict[str, str] | None = None) -> Path:
    """Compile the module, as far as that has not been done before, and return its path.

    Args:
        replaced: Other texts for files of csrc/mlx, by name: what tests plant mistakes with.
    """
    texts = {path: path.read_text() for path in sources()}
    texts |= {ROOT / "csrc/mlx" / name: text for name, text in (replaced or {}).items()}
    kernels, headers = _texts(ROOT / "metal"), _texts(ROOT / "csrc", "*.h") + _texts(HERE / "mlx_headers")
    texts[ROOT / "kernel_sources.cpp"] = cached(kernels, ".cpp", _embed).read_text()

    def compiled(source: Path) -> Path:
        command = [host_compiler(), *FLAGS, f"-I{source.parent}", "-c", "-x", "c++", "-", "-o"]
        key = "\n".join([texts[source], headers, kernels, mx.__version__, *command])
        return cached(key, ".o", lambda output: run_compiler([*command, str(output)], texts[source]))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(map(str, pool.map(compiled, texts)))
    command = [host_compiler(), "-shared", *objects, f"-L{MLX / 'lib'}", f"-Wl,-rpath,{MLX / 'lib'}", "-lmlx", "-o"]
    return cached("\n".join(command), ".so", lambda output: run_compiler([*command, str(output)]))


def _texts(folder: Path, pattern: str = "*.*") -> str:
    return "".join(path.read_text() for path in sorted(folder.rglob(pattern)) if path.suffix != ".pyc")


def _embed(output: Path) -> None:
    subprocess.run([sys.executable, ROOT / "metal/embed.py", output], check=True)


def load(path: Path) -> ModuleType:
    """Import the module, which has the functions of fusedops._mlx."""
    spec = importlib.util.spec_from_file_location(f"{path.stem}._mlx", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# What mlx_metal.cpp calls.

_lock = threading.Lock()
_kernels: dict[str, Library] = {}
launched: list[str] = []  # the kernels' names, in order


def compile_kernel(name: str, text: str) -> int:
    """Make a kernel ready to run, and return how many threads a threadgroup of it may have."""
    with _lock:
        if name not in _kernels:
            _kernels[name] = checked_library(text)
    return 1024


def run_kernel(
    name: str,
    arrays: dict[int, tuple[int, int, int, bool]],
    parameter_slot: int,
    parameters: bytes,
    threadgroups: tuple[int, int, int],
    threads_per_threadgroup: tuple[int, int, int],
) -> None:
    """Run a launch. At a slot is an array, as (its buffer's address and size, its offset, whether it is an output)."""
    memory = {address: _memory(address, size) for address, size, _, _ in arrays.values()}
    outputs = {address for address, _, _, is_output in arrays.values() if is_output}
    before = {address: memory[address].copy() for address in memory.keys() - outputs}
    buffers: dict[int, Any] = {
        slot: AtOffset(memory[address], offset) for slot, (address, _, offset, _) in arrays.items()
    }
    if parameter_slot >= 0:
        buffers[parameter_slot] = parameters
    geometry = {"threadgroups": threadgroups, "threads_per_threadgroup": threads_per_threadgroup}
    launched.append(name)
    _kernels[name].run(name, buffers, **geometry, order="random")
    for address, values in before.items():
        if not np.array_equal(memory[address], values):
            raise RuntimeError(f"{name} writes to an array that was registered as an input")


def _memory(address: int, size: int) -> np.ndarray:
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))
