"""The C preprocessor with stubs for Apple's headers: macros expanded, includes inlined, line markers kept."""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..compiler import host_compiler
from ..errors import SimulatorError

SHIM = Path(__file__).resolve().parent.parent / "shim"
METAL_VERSION = 310
_MARKER = re.compile(r'\s*#\s*(?:line\s+)?(\d+)\s+"((?:\\.|[^"\\])*)"(.*)')  # `# 12 "file" 1`: it is entered


def preprocess(source: Path | str, include: Sequence[Path | str] = (), defines: Sequence[str] = ()) -> str:
    """Preprocess a .metal file (a Path) or Metal text (a str).

    `include` are directories, `defines` are NAME or NAME=VALUE; __METAL_VERSION__ is 310 unless they set it. A file may
    be included if it lies below one of the directories or that of the source, which for text is the current one.
    SimulatorError: the file does not exist, it includes what lies elsewhere, or the preprocessor's own errors.
    TypeError: `source` is neither.
    """
    if not isinstance(source, Path | str):
        raise TypeError(f"source must be a Path, or Metal text as a str, got {type(source).__name__}")
    if isinstance(source, str) and not _is_unicode(source):
        raise SimulatorError("<metal>: the text has surrogates, which are no characters")
    if isinstance(source, Path) and not source.is_file():
        raise SimulatorError(f"{source}: no such file")
    if not any(define.startswith("__METAL_VERSION__=") for define in defines):
        defines = [*defines, f"__METAL_VERSION__={METAL_VERSION}"]
    command = [
        *(host_compiler(), "-E", "-x", "c++", "-std=gnu++17", "-nostdinc", "-undef", "-w", "-D__METAL__"),
        *(f"-I{directory}" for directory in (SHIM / "preprocessor", *include)),
        *(f"-D{define}" for define in defines),
        _named(source),
    ]
    text = None if isinstance(source, Path) else f'# 1 "<metal>"\n{source}'
    result = subprocess.run(command, input=text, capture_output=True, encoding="utf-8", errors="replace", check=False)
    if result.returncode:
        raise SimulatorError(result.stderr.strip())
    home = source.parent if isinstance(source, Path) else Path.cwd()
    if foreign := list(_included_from_elsewhere(result.stdout, [SHIM / "preprocessor", home, *map(Path, include)])):
        raise SimulatorError("\n".join(foreign))
    return result.stdout


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _named(source: Path | str) -> str:
    """How the compiler is told of a source: it takes names that begin so for options."""
    if isinstance(source, str):
        return "-"
    return os.path.join(".", source) if str(source).startswith(("-", "@")) else str(source)


def _included_from_elsewhere(text: str, directories: Sequence[Path]) -> Iterator[str]:
    """A finding for each file that a preprocessed text includes though it lies below none of the directories."""
    roots = [Path(os.path.abspath(directory)) for directory in directories]
    place, line = "", 0
    for row in text.splitlines():
        if not (marker := _MARKER.match(row)):
            line += 1
            continue
        name = re.sub(r"\\(.)", r"\1", marker[2])
        is_entered = "1" in marker[3].split()
        if is_entered and not any(root in Path(os.path.abspath(name)).parents for root in roots):
            yield f"{place}:{line}: {name} lies outside of the source's folder and of those to include from"
        place, line = name, int(marker[1])
