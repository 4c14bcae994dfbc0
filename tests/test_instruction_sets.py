"""The CPU kernels are right in every instruction set that this CPU has, not just in the one it would choose."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fusedops import _core

X86 = ["amx_bf16", "avx512_bf16", "avx512", "avx2"]  # each is a CPU's choice only where the ones before are missing
BEST = _core.instruction_set()
INSTRUCTION_SETS = [*(X86[X86.index(BEST) + 1 :] if BEST in X86 else []), "baseline", "scalar"]  # beside the best


@pytest.mark.parametrize("name", INSTRUCTION_SETS)
def test_shared_cases(name: str) -> None:
    environment = {**os.environ, "FUSEDOPS_INSTRUCTION_SET": name}
    used = [sys.executable, "-c", "from fusedops import _core; print(_core.instruction_set())"]
    chosen = subprocess.run(used, env=environment, capture_output=True, text=True, check=True).stdout.strip()
    assert chosen == name or (name == "baseline" and chosen in ("sse2", "neon", "generic"))
    here = Path(__file__).parent
    files = ["test_semantics.py", "test_elementary_functions.py", "on_torch/test_torch_backward.py"]
    of_their_tests = "test_semantics and numpy or test_elementary and (16_bit or functions) or test_torch_backward"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files, "-k", of_their_tests]
    done = subprocess.run(command, env=environment, cwd=here, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
