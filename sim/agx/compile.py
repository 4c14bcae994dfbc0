"""Metal text to instructions of Apple's M1 and M2 by way of clang, LLVM, SPIR-V and Mesa: docs/agx.md."""

import contextlib
import functools
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..errors import SimulatorError
from ..translate import translate
from ..translate.emitter import Value
from ..translate.preprocess import SHIM
from .assembly import KernelCode, read
from .ir import for_spirv, unresolved_generic_pointers
from .tools import Tools, find_tools

# The first is what comes nearest to Apple's compiler; Mesa's crashes on some kernels that it leaves loops in.
UNROLL_THRESHOLDS = (150, 300)
_CLANG = [
    *("-x", "clcpp", "-cl-std=CLC++2021", "-cl-no-stdinc", "-nostdinc", "-cl-single-precision-constant", "-w"),
    *("--target=x86_64-linux-gnu", "-Xclang", "-ffake-address-space-map", "-Xclang", "-cl-ext=+all"),
    *("-Xclang", "-ffloat16-excess-precision=none", "-ffp-contract=on"),
    *(f"-I{SHIM / folder}" for folder in ("agx", "opencl", ".")),
    *("-O2", "-Xclang", "-disable-llvm-passes", "-fno-discard-value-names", "-S", "-emit-llvm"),
]
# Everything becomes one function before anything else, as on Apple's GPUs; only then are all address spaces known.
_ONE_FUNCTION = (
    "internalize,cgscc(inline),globaldce,"
    "function(sroa,infer-address-spaces,early-cse,instcombine<no-verify-fixpoint>,simplifycfg),globaldce"
)
_LAST = "function(load-store-vectorizer,instcombine<no-verify-fixpoint>,early-cse)"
_OPT = [
    *("-inline-threshold=1000000", "-vectorize-loops=false", "-vectorize-slp=false"),
    *("-pragma-unroll-threshold=100000", "-assume-default-is-flat-addrspace"),
]
_TIME_LIMIT = 600


def registers(
    source: Path | str,
    kernel: str,
    *,
    include: Sequence[Path | str] = (),
    defines: Sequence[str] = (),
    constants: Mapping[str, Value] | None = None,
    most_threads: int | None = None,
) -> KernelCode:
    """Compile one kernel of a .metal file (a Path) or Metal text (a str) for M1 and M2 and tell what it takes.

    Args:
        source: As of `translate`, with include and defines.
        kernel: Its host name.
        include: Directories.
        defines: NAME or NAME=VALUE.
        constants: Values of function constants; others are 0.
        most_threads: Of a threadgroup. It bounds the registers, as max_total_threads_per_threadgroup does, which is the
            default; without either a thread may have all.

    Raises:
        SimulatorError: The compiler is missing, or does not take the kernel.
    """
    tools = find_tools()
    translation = translate(
        source, "agx", include=include, defines=defines, only=re.escape(kernel), constants=constants or {}
    )
    if kernel not in translation.kernels:
        raise SimulatorError(f"there is no kernel {kernel!r}")
    macros = [f"-DMSL_MOST_THREADS={most_threads}"] if most_threads else []
    macros += ["-DMSL_MATRIX"] if tools.has_matrix_instruction else []
    module = _run("clang", [tools.clang, *_CLANG, *macros, "-o", "-", "-"], translation.text)
    entry = _entry_point(module)
    module = for_spirv(module)
    for threshold in UNROLL_THRESHOLDS:
        with contextlib.suppress(_Crash):
            return _optimised(tools, module, entry, threshold)
    raise SimulatorError(
        f"{kernel}: asahi_clc crashes, which is Mesa's mistake: arrays that loops leave in memory often are the cause, "
        "and another bound of threads may avoid it"
    )


def settings(tools: Tools) -> str:
    """What to say beside the numbers."""
    matrix = "with" if tools.has_matrix_instruction else "without"
    return (
        f"AGX (M1, M2) by Mesa {matrix} the matrix instruction; LLVM {tools.llvm_version} "
        f"without loop-invariant code motion, unrolling threshold {UNROLL_THRESHOLDS[0]}"
    )


def _entry_point(module: str) -> str:
    match = re.search(r"^define .*spir_kernel void @([\w.]+)\(", module, re.MULTILINE)
    assert match
    return match[1]


@functools.cache
def _pipeline(opt: str) -> str:
    """LLVM's -O2 without loop-invariant code motion: what it hoists takes registers that Apple's compiler saves."""
    command = [opt, "-passes=default<O2>", *_OPT, "-print-pipeline-passes", "-disable-output"]
    passes = _run("opt", command, "")
    return re.sub(r"\blicm(<[^>]*>)?", "no-op-loop", passes.strip())


def _optimised(tools: Tools, module: str, entry: str, threshold: int) -> KernelCode:
    passes = ",".join([_ONE_FUNCTION, *[_pipeline(tools.opt)] * 2, _LAST])
    options = [*_OPT, f"-unroll-threshold={threshold}", f"-internalize-public-api-list={entry}"]
    module = _run("opt", [tools.opt, "-S", f"-passes={passes}", *options], module)
    _refuse_what_is_left(module)
    return read(_assembly(tools, module), len(re.findall(r"= alloca \[", module)), threshold)


def _refuse_what_is_left(module: str) -> None:
    """SimulatorError: the shim does not define a function that is called, or a pointer's space is unknown."""
    declared = re.findall(r"^declare .*?@([\w.]+)\(", module, re.MULTILINE)
    missing = sorted({_readable(name) for name in declared if not re.match(r"llvm\.|nir_|_Z\d+__spirv_", name)})
    if missing:
        raise SimulatorError(f"agx does not have {', '.join(missing)} (sim/shim/agx)")
    if unresolved := unresolved_generic_pointers(module):
        raise SimulatorError(f"agx cannot tell the address space of a pointer: {unresolved[0]}")


def _readable(name: str) -> str:
    """`_ZN5metal3cosEf` as metal::cos."""
    words, rest = [], re.sub(r"^_ZN?", "", name)
    while match := re.match(r"(\d+)", rest):
        start, length = match.end(), int(match[1])
        words.append(rest[start : start + length])
        rest = rest[start + length :]
    return "::".join(words) or name


def _assembly(tools: Tools, module: str) -> str:
    """What asahi_clc prints of an optimised module with one entry point."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bitcode, spirv = folder / "kernel.bc", folder / "kernel.spv"
        _run("opt", [tools.opt, "-o", str(bitcode)], module)
        _run("llvm-spirv", [tools.llvm_spirv, str(bitcode), "-o", str(spirv), "--spirv-ext=-all"])
        command = [tools.asahi_clc, str(spirv), str(folder / "kernel.h"), str(folder / "kernel.c")]
        return _run("asahi_clc", command, debug="shaders,shaderdb,internal")


class _Crash(Exception):
    """A program ended by a signal."""


def _run(name: str, command: Sequence[str], text: str = "", debug: str = "") -> str:
    """What a program prints, and with Mesa's `debug` its errors, too. _Crash, or SimulatorError: it fails."""
    try:
        result = subprocess.run(
            command,
            input=text,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=_TIME_LIMIT,
            env={**os.environ, "AGX_MESA_DEBUG": debug},
        )
    except subprocess.TimeoutExpired:
        raise SimulatorError(f"{name} takes more than {_TIME_LIMIT} seconds") from None
    if result.returncode < 0 and debug:
        raise _Crash
    if result.returncode:
        lines = [line for line in result.stderr.splitlines() if "WARNING" not in line]
        raise SimulatorError(f"{name} fails ({result.returncode}): " + "\n".join(lines[:10]))
    return result.stdout + (result.stderr if debug else "")
