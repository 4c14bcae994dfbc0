"""Build the native code with sanitizers, and run it under them: `make sanitize`.

AddressSanitizer and UndefinedBehaviorSanitizer together, on tests and on random arguments; ThreadSanitizer, on many
callers of the pool. The frameworks are as they are, without instrumentation: what is seen is what our code does, and
what it hands to theirs. Each build is a package of its own below build/sanitize. Any finding ends the run.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
BUILDS = ROOT / "build" / "sanitize"
TESTS = ("tests/test_semantics.py", "tests/test_bad_input.py")
FRAMEWORKS = ("numpy", "torch", "mlx")


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def build(name: str, sanitizers: str, *defines: str) -> Path:
    """Install the package, built with the sanitizers, and return the folder that it is in."""
    say(f"building with -fsanitize={sanitizers}")
    package = BUILDS / name / "package"
    shutil.rmtree(package, ignore_errors=True)
    settings = {
        "build-dir": str(BUILDS / name / "build"),
        "install.strip": "false",
        "cmake.define.FUSEDOPS_SANITIZE": sanitizers.replace(",", ";"),
        "cmake.define.FUSEDOPS_STUBS": "OFF",  # they need to import the module
        **dict.fromkeys((f"cmake.define.{define}" for define in defines), "OFF"),
    }
    options = [f"-C{name}={value}" for name, value in settings.items()]
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(package)]
    subprocess.run([*install, *options, str(ROOT)], check=True)
    return package


def runtime(library: str) -> str:
    found = subprocess.run(["g++", f"-print-file-name={library}"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def run(package: Path, library: str, arguments: Sequence[str], **environment: str) -> None:
    """Run Python with the package, and with the sanitizer's runtime loaded before all else."""
    say(" ".join([*(f"{name}={value}" for name, value in environment.items()), "python", *arguments]))
    variables = {
        "PYTHONPATH": os.pathsep.join([str(package), str(ROOT / "tests")]),
        # Python is no C++ program: the runtime must find libstdc++, whose functions it wraps.
        "LD_PRELOAD": f"{runtime(library)} {runtime('libstdc++.so.6')}",
        # Python frees little at its end. Frames that are to outlive their call are not aligned for AVX-512 by GCC 13.
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "TSAN_OPTIONS": f"halt_on_error=1:suppressions={HERE / 'threads.supp'}",
        "OMP_NUM_THREADS": "4",
    }
    # ThreadSanitizer finds its place in memory only where addresses are not random.
    prefix = ["setarch", platform.machine(), "-R"] if shutil.which("setarch") else []
    subprocess.run(
        [*prefix, sys.executable, *arguments], check=True, cwd=ROOT, env=os.environ | variables | environment
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100_000, help="sets of random arguments on numpy")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.monotonic()

    package = build("address", "address,undefined")
    library = "libasan.so"
    for framework in FRAMEWORKS:
        chosen = "numpy" if framework == "numpy" else f"{framework}-cpu"
        run(package, library, ["-m", "pytest", "-q", "--capture=sys", "-p", "no:cacheprovider", *TESTS, "-k", chosen])
    fuzz = [str(HERE.relative_to(ROOT) / "fuzz_arguments.py"), "--seed", str(options.seed)]
    run(package, library, [*fuzz, "--count", str(options.count)])
    for framework in FRAMEWORKS[1:]:
        run(package, library, [*fuzz, "--count", str(options.count // 10), "--framework", framework])
    for instruction_set in ("scalar", "baseline", "avx2", "avx512"):  # what a machine lacks is another set's turn again
        run(package, library, [*fuzz, "--count", str(options.count // 10)], FUSEDOPS_INSTRUCTION_SET=instruction_set)

    package = build("thread", "thread", "FUSEDOPS_TORCH", "FUSEDOPS_MLX")
    run(package, "libtsan.so", [str(HERE.relative_to(ROOT) / "stress_threads.py")])
    say(f"no findings, in {(time.monotonic() - start) / 60:.0f} minutes")


if __name__ == "__main__":
    main()
