"""The compiler for Apple's GPU instructions, for the tests that need it."""

import pytest

from fusedops.sim import SimulatorError
from fusedops.sim.agx import find_tools, settings

RECORDED = (
    "AGX (M1, M2) by Mesa with the matrix instruction; LLVM 19.1.7 without loop-invariant code motion, "
    "unrolling threshold 150"
)


def need_compiler(recorded: str | None = None) -> None:
    """Skip a test where there is no compiler, or another one than that of the numbers that were recorded."""
    try:
        found = settings(find_tools())
    except SimulatorError as error:
        pytest.skip(str(error))
    if recorded is not None and found != recorded:
        pytest.skip(f"recorded with {recorded}; here is {found}")
