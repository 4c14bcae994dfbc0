"""What kernels take of Apple's M1 and M2 GPUs: registers, occupancy, spills, code and loops, without a Mac.

An open compiler for the real instruction set says it; nothing is run. See docs/agx.md.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from .assembly import KernelCode, Loop
from .compile import UNROLL_THRESHOLDS, registers, settings
from .tools import Tools, find_tools

if TYPE_CHECKING:
    from fusedops import _core

__all__ = ["UNROLL_THRESHOLDS", "KernelCode", "Loop", "Tools", "find_tools", "plan_registers", "registers", "settings"]


def plan_registers(plan: _core.Plan) -> dict[str, KernelCode]:
    """Compile the kernels that a plan launches: what each takes, by its host name.

    Raises:
        SimulatorError: As of registers.
    """
    texts = {launch.name: launch.text for launch in plan.launches}
    with ThreadPoolExecutor() as pool:  # the work is done by other processes
        return dict(zip(texts, pool.map(registers, texts.values(), texts), strict=True))
