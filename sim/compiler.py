"""The C++ compiler of this machine."""

import os
import shutil

from .errors import SimulatorError


def host_compiler() -> str:
    """FUSEDOPS_SIM_CXX, else the first of g++ and clang++ on the path; a SimulatorError if there is none."""
    compiler = os.environ.get("FUSEDOPS_SIM_CXX") or shutil.which("g++") or shutil.which("clang++")
    if not compiler:
        raise SimulatorError("no C++ compiler: install g++ or clang++, or name one in FUSEDOPS_SIM_CXX")
    return compiler
