"""The programs that compile for Apple's GPUs: clang, opt and llvm-spirv of one LLVM, and Mesa's asahi_clc."""

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import SimulatorError

_LLVM = "FUSEDOPS_AGX_LLVM"
_ASAHI_CLC = "FUSEDOPS_AGX_ASAHI_CLC"
_MATRIX_SUFFIX = "-matrix"  # what sim/agx/build_compiler.sh calls the program that knows the matrix instruction
_OLDEST_LLVM = 19
_HOW = "docs/agx.md tells how to get it: packages of Debian 13 and sim/agx/build_compiler.sh"


@dataclass(frozen=True)
class Tools:
    """Paths of the programs, and what to say of them beside what they found."""

    clang: str
    opt: str
    llvm_spirv: str
    asahi_clc: str
    llvm_version: str

    @property
    def has_matrix_instruction(self) -> bool:
        return Path(self.asahi_clc).name.endswith(_MATRIX_SUFFIX)


def find_tools() -> Tools:
    """FUSEDOPS_AGX_LLVM is a folder of LLVM's programs, FUSEDOPS_AGX_ASAHI_CLC a program; else both are on the path.

    SimulatorError: something is missing or too old; it says how to get it.
    """
    clang, opt, llvm_spirv = _llvm(os.environ.get(_LLVM))
    version = _version(clang)
    if int(version.split(".")[0]) < _OLDEST_LLVM:
        raise SimulatorError(f"{clang} is of LLVM {version}, which is older than {_OLDEST_LLVM}; {_HOW}")
    return Tools(clang, opt, llvm_spirv, _asahi_clc(), version)


def _llvm(folder: str | None) -> Sequence[str]:
    """The three programs with one suffix: Debian's have the version in their names."""
    names = ("clang", "opt", "llvm-spirv")
    for suffix in (*(f"-{version}" for version in range(_OLDEST_LLVM, _OLDEST_LLVM + 6)), ""):
        found = [shutil.which(name + suffix, path=folder) for name in names]
        if all(found):
            return [path for path in found if path]
    place = f"in {folder}, which {_LLVM} names" if folder else f"on the path, and {_LLVM} names no folder"
    raise SimulatorError(f"there are no clang, opt and llvm-spirv of one LLVM {place}; {_HOW}")


@functools.cache
def _version(clang: str) -> str:
    answer = subprocess.run([clang, "--version"], capture_output=True, text=True, check=False)
    if not (match := re.search(r"clang version (\d+[.\d]*)", answer.stdout)):
        raise SimulatorError(f"{clang} does not run: {(answer.stderr or answer.stdout).strip()[:200]}")
    return match[1]


def _asahi_clc() -> str:
    """The one that knows the matrix instruction where both are on the path."""
    named = os.environ.get(_ASAHI_CLC)
    if named and not shutil.which(named):
        raise SimulatorError(f"{_ASAHI_CLC} names {named}, which is no program; {_HOW}")
    if path := named or shutil.which(f"asahi_clc{_MATRIX_SUFFIX}") or shutil.which("asahi_clc"):
        return path
    raise SimulatorError(f"there is no asahi_clc, Mesa's compiler for Apple's GPUs, on the path; {_HOW}")
