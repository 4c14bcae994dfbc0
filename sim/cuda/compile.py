"""From translated text to a cubin, with nvcc."""

import os
import shutil
from pathlib import Path

from ..errors import SimulatorError
from ..run.cache import cached
from ..run.compile import SHIM, run_compiler, shim_text, version

# Calls of constexpr functions and conversions in the shims are device code; contraction to fma is left to nvcc.
_FLAGS = ["-x", "cu", "-std=c++20", "-O3", "-w", "--expt-relaxed-constexpr", "-lineinfo", f"-I{SHIM}"]
_RELOCATABLE = "-rdc=true"  # keeps function constants visible to the host


def compile_cubin(text: str, architecture: str) -> Path:
    """Compile text that was translated for CUDA. SimulatorError: no nvcc, or its errors."""
    nvcc, ptxas = _tool("nvcc"), _tool("ptxas")
    to_ptx = [nvcc, *_FLAGS, _RELOCATABLE, f"-arch={architecture}", "-ptx"]
    to_cubin = [ptxas, "-O3", "-lineinfo", f"-arch={architecture}"]

    def make(cubin: Path) -> None:
        source, ptx = cubin.with_suffix(".cu"), cubin.with_suffix(".ptx")
        source.write_text(text)
        run_compiler([*to_ptx, str(source), "-o", str(ptx)])
        run_compiler([*to_cubin, str(ptx), "-o", str(cubin)])

    return cached("\n".join([text, shim_text(), *to_ptx, *to_cubin, version(nvcc)]), ".cubin", make)


def _tool(name: str) -> str:
    """Of the toolkit at CUDA_HOME if that is set, else on the path, else at the place where it is usually installed."""
    home = os.environ.get("CUDA_HOME")
    found = shutil.which(name, path=f"{home}/bin") if home else shutil.which(name)
    if not (found := found or shutil.which(name, path="/usr/local/cuda/bin")):
        raise SimulatorError(f"there is no {name}: install the CUDA toolkit, or name its directory in CUDA_HOME")
    return found
