"""From translated text to a shared library, with the compiler of this machine."""

import functools
import os
import platform
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path

from ..compiler import host_compiler
from ..errors import SimulatorError
from .cache import cached, text_of
from .objects import check_kernels, check_text

SHIM = Path(__file__).resolve().parent.parent / "shim"
_RUNTIME = SHIM / "runtime"

# Every result is that of Metal's own operations: no contraction to fma, and literals such as 1.0 are floats.
_FLAGS = ["-fPIC", "-fvisibility=hidden", "-fno-rtti", "-fno-strict-aliasing"]
_KERNEL_FLAGS = ["-std=gnu++17", "-w", "-ffp-contract=off", "-fno-exceptions", "-fasynchronous-unwind-tables"]
_GNU_FLAGS = ["-fsingle-precision-constant", "-fexcess-precision=16", "-fno-gnu-unique"]
# libc++'s headers would else bring in all of C's functions.
_CLANG_FLAGS = [
    "-D_LIBCPP_REMOVE_TRANSITIVE_INCLUDES",
    "-Xclang",
    "-cl-single-precision-constant",
    "-Xclang",
    "-ffloat16-excess-precision=none",
]
_CHECKS = ["-fsanitize=alignment,integer-divide-by-zero"]
_SOME_CHECKS = [*_CHECKS, "-O2"]
_HOOKS = ["-fsanitize=thread", "-g1", "-O1"]  # they take most of the time, whatever the level
_ALL_CHECKS = [*_CHECKS, *_HOOKS]
# The bounds of all arrays, those that end a struct (as the components of a vector do) included.
_GNU_BOUNDS = ["-fsanitize=bounds-strict"]
_CLANG_BOUNDS = ["-fsanitize=bounds", "-fstrict-flex-arrays=3"]
# Every access that the text makes counts, even where a value is known from the access before.
_COUNTED = ["-DMSL_COUNT", *_HOOKS]
_GNU_COUNTED = [f"-fno-tree-{name}" for name in ("fre", "pre", "dominator-opts", "dse", "loop-im")]
_MACHINES = {"x86_64": ["-march=x86-64-v3"], "aarch64": ["-march=armv8.2-a+fp16"], "arm64": []}


class Observer(Enum):
    """Who watches a launch: nobody, the checks of every access, or the counters of what it costs."""

    NONE = ()
    CHECKS = ("checked", "instrumented")
    COUNTERS = ("counted", "instrumented")


def compile_library(text: str, observer: Observer) -> Path:
    """Compile text that was translated for the simulator, together with its runtime, to a shared library.

    SimulatorError: an unsupported host, no compiler, or the compiler's errors, with lines of the Metal text.
    """
    compiler, flags = host_compiler(), [*_host_flags(), *_FLAGS]
    runtime = _compile_runtime(compiler, [*flags, "-O2"], observer)
    clang = "clang" in version(compiler)
    flags += [*_KERNEL_FLAGS, *(_CLANG_FLAGS if clang else _GNU_FLAGS)]
    flags += {
        Observer.NONE: _SOME_CHECKS,
        Observer.CHECKS: [*_ALL_CHECKS, *(_CLANG_BOUNDS if clang else _GNU_BOUNDS)],
        Observer.COUNTERS: [*_COUNTED, *([] if clang else _GNU_COUNTED)],
    }[observer]
    compile_kernels = [compiler, *flags, f"-I{SHIM}", "-c", "-x", "c++", "-"]
    # A step of its own, because with -fsanitize the compiler would link the sanitizers' runtime.
    link = [compiler, "-shared", *map(str, runtime), "-lm"]

    def make(library: Path) -> None:
        check_text(text, (compiler, *flags, f"-I{SHIM}"))
        kernels = library.with_suffix(".o")
        run_compiler([*compile_kernels, "-o", str(kernels)], text)
        check_kernels(kernels, runtime, text)
        run_compiler([*link, str(kernels), "-o", str(library)])

    return cached(_key(compiler, [*compile_kernels, *link], text), ".so", make)


def _compile_runtime(compiler: str, flags: Sequence[str], observer: Observer) -> list[Path]:
    files = [*_RUNTIME.glob("*.cpp"), *(file for folder in observer.value for file in _RUNTIME.glob(f"{folder}/*.cpp"))]
    defines = [] if observer is Observer.NONE else ["-DMSL_OBSERVED"]

    def compile_file(file: Path) -> Path:
        command = [compiler, *flags, "-std=c++20", *defines, "-c", str(file)]
        return cached(_key(compiler, command), ".o", lambda output: run_compiler([*command, "-o", str(output)]))

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compile_file, sorted(files)))


def _key(compiler: str, command: Sequence[str], text: str = "") -> str:
    return "\n".join([text, shim_text(), *command, version(compiler)])


def _host_flags() -> list[str]:
    """What the processor takes; a SimulatorError where the runtime cannot switch threads."""
    machine = platform.machine()
    if machine not in _MACHINES or sys.platform not in ("linux", "darwin"):
        raise SimulatorError(
            f"the simulator runs on x86-64 and arm64, Linux and macOS, not on {machine} {sys.platform}"
        )
    if sys.platform == "linux" and machine == "x86_64" and " avx2 " not in Path("/proc/cpuinfo").read_text():
        raise SimulatorError("the simulator needs a processor with AVX2")
    return _MACHINES[machine]


def run_compiler(command: Sequence[str], text: str = "") -> None:
    """Run a compiler on text; SimulatorError: what it says of errors, a line each."""
    result = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SimulatorError("\n".join(_findings(result.stderr)) or result.stderr.strip())


def _findings(output: str) -> list[str]:
    """The compiler's errors. One within the shims is given the place in the Metal text that led there."""
    findings: list[str] = []
    origin = None
    in_shim = False
    for line in output.splitlines():
        if not (match := re.match(r"(.+?)[:(](\d+)\)?(?::\d+)?: +(?:(?:fatal )?(error): |note: )?(.*)", line)):
            continue
        place, is_error, what = f"{match[1]}:{match[2]}", match[3], match[4]
        if is_error:
            in_shim = match[1].startswith(str(SHIM))
            findings.append(f"{(origin if in_shim else None) or place}: error: {what}")
            in_shim, origin = in_shim and not origin, None
        elif "requir" in what or "request" in what:  # "required from here" before, or "requested here" after
            if match[1].startswith(str(SHIM)):
                continue
            if in_shim:
                findings[-1] = f"{place}: error: {findings[-1].split(': error: ', 1)[1]}"
                in_shim = False
            else:
                origin = place
    return findings


@functools.cache
def version(compiler: str) -> str:
    result = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False)
    if result.returncode:
        raise SimulatorError(f"{compiler} --version: {result.stderr.strip()}")
    return result.stdout


@functools.cache
def shim_text() -> str:
    return text_of(SHIM)


def describe_places(log: str, library: Path) -> str:
    """The log with file and line of the Metal text in place of each address @0x... in the library."""
    return re.sub(r"@(0x[0-9a-f]+)", lambda match: _place(library, match[1]) or match[0], log)


@functools.cache
def _place(library: Path, address: str) -> str | None:
    for tool in ("addr2line", "llvm-addr2line"):
        try:
            result = subprocess.run([tool, "-i", "-e", library, address], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            continue
        frames = [line.split(" (")[0] for line in result.stdout.splitlines() if not line.startswith("??")]
        in_kernel = [frame for frame in frames if not frame.startswith(str(SHIM))]
        return f"at {(in_kernel or frames)[0]}" if frames else None
    return None
