"""Metal kernels without a Mac: translated to C++, checked by clang, run with checks on the CPU and on NVIDIA GPUs.

    library = build(Path("rms_norm.metal"), check=True)
    library.run("rms_norm_float", [x, weight, out, eps, length], threadgroups=(rows,), threads_per_threadgroup=(256,))

The shell command is `python -m fusedops.sim`; see docs/simulator.md.
"""

from .agx import KernelCode, plan_registers, registers
from .check import check
from .errors import SimulatorError
from .run import ORDERS, AtOffset, Cost, Library, build
from .translate import Translation, translate

__all__ = [
    "ORDERS",
    "AtOffset",
    "Cost",
    "KernelCode",
    "Library",
    "SimulatorError",
    "Translation",
    "build",
    "check",
    "plan_registers",
    "registers",
    "translate",
]
