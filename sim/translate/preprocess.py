"""The C preprocessor with stubs for Apple's headers: macros expanded, includes inlined, line markers kept."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from ..compiler import host_compiler
from ..errors import SimulatorError

SHIM = Path(__file__).resolve().parent.parent / "shim"
METAL_VERSION = 310


def preprocess(source: Path | str, include: Sequence[Path | str] = (), defines: Sequence[str] = ()) -> str:
    """Preprocess a .metal file (a Path) or Metal text (a str).

    `include` are directories, `defines` are NAME or NAME=VALUE; __METAL_VERSION__ is 310 unless they set it.
    SimulatorError: the file does not exist, or the preprocessor's own errors.
    """
    if isinstance(source, Path) and not source.is_file():
        raise SimulatorError(f"{source}: no such file")
    if not any(define.startswith("__METAL_VERSION__=") for define in defines):
        defines = [*defines, f"__METAL_VERSION__={METAL_VERSION}"]
    command = [
        *(host_compiler(), "-E", "-x", "c++", "-std=gnu++17", "-nostdinc", "-undef", "-w", "-D__METAL__"),
        *(f"-I{directory}" for directory in (SHIM / "preprocessor", *include)),
        *(f"-D{define}" for define in defines),
        str(source) if isinstance(source, Path) else "-",
    ]
    text = None if isinstance(source, Path) else f'# 1 "<metal>"\n{source}'
    result = subprocess.run(command, input=text, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if result.returncode:
        raise SimulatorError(result.stderr.strip())
    return result.stdout
