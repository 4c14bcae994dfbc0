"""Metal text to C++ for the simulator, CUDA or clang's C++ for OpenCL."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import SimulatorError
from .cuda import CudaEmitter
from .declarations import FunctionConstant, Unit
from .declarations import parse as parse_text
from .emitter import Emitter
from .opencl import OpenCLEmitter
from .preprocess import preprocess
from .simulator import SimulatorEmitter

_EMITTERS: dict[str, type[Emitter]] = {"simulator": SimulatorEmitter, "cuda": CudaEmitter, "opencl": OpenCLEmitter}
TARGETS = tuple(_EMITTERS)


@dataclass(frozen=True)
class Translation:
    """C++ text, the host names of the kernels in it, and the names of the function constants that the host may set."""

    text: str
    kernels: tuple[str, ...]
    constants: tuple[str, ...]


def parse(source: Path | str, *, include: Sequence[Path | str] = (), defines: Sequence[str] = ()) -> Unit:
    """Preprocess and parse a .metal file (a Path) or Metal text (a str); see `translate`."""
    return parse_text(preprocess(source, include, defines))


def translate(
    source: Path | str,
    target: str,
    *,
    include: Sequence[Path | str] = (),
    defines: Sequence[str] = (),
    only: str | None = None,
) -> Translation:
    """Translate a .metal file (a Path) or Metal text (a str) for "simulator", "cuda" or "opencl".

    `include` are directories, `defines` are NAME or NAME=VALUE, `only` is a regular expression that the host names of
    the wanted kernels match as a whole. SimulatorError: what is not Metal, with file and line, or an unknown target.
    """
    if target not in _EMITTERS:
        raise SimulatorError(f"target: expected one of {', '.join(TARGETS)}, got {target!r}")
    unit = parse(source, include=include, defines=defines)
    emitter = _EMITTERS[target](unit, only)
    text = emitter.emit()
    if emitter.errors:
        raise SimulatorError("\n".join(emitter.errors))
    constants = [d for d in unit.declarations if isinstance(d, FunctionConstant) and d.index is not None]
    return Translation(text, tuple(emitter.kernels), tuple(constant.name for constant in constants))
