"""The C++ compiler of this machine."""

import os
import shutil

from .errors import SimulatorError


def host_compiler() -> str:
    """FUSEDOPS_SIM_CXX, else the first of g++ and clang++ on the path; a SimulatorError if there is none."""
    named = os.environ.get("FUSEDOPS_SIM_CXX")
    if named and not shutil.which(named):
        raise SimulatorError(f"no C++ compiler: FUSEDOPS_SIM_CXX names {named}, which is no program")
    compiler = named or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        raise SimulatorError("no C++ compiler: install g++ or clang++, or name one in FUSEDOPS_SIM_CXX")
    return compiler
