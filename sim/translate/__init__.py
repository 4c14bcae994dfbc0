"""Metal text to C++ for the simulator, CUDA, clang's C++ for OpenCL or, by way of that, Apple's GPUs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import SimulatorError
from .agx import AgxEmitter
from .cuda import CudaEmitter
from .declarations import FunctionConstant, Unit
from .declarations import parse as parse_text
from .emitter import Emitter, Value
from .opencl import OpenCLEmitter
from .preprocess import preprocess
from .simulator import SimulatorEmitter

_EMITTERS: dict[str, type[Emitter]] = {
    "simulator": SimulatorEmitter,
    "cuda": CudaEmitter,
    "opencl": OpenCLEmitter,
    "agx": AgxEmitter,
}
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
    constants: Mapping[str, Value] | None = None,
) -> Translation:
    """Translate a .metal file (a Path) or Metal text (a str) for "simulator", "cuda", "opencl" or "agx".

    `include` are directories, `defines` are NAME or NAME=VALUE, `only` is a regular expression that the host names of
    the wanted kernels match as a whole. `constants` are values of function constants that are compiled in, as Metal
    does when it makes a pipeline; for "cuda" and "agx" only. SimulatorError: what is not Metal, with file and line, or
    an unknown target.
    """
    if target not in _EMITTERS:
        raise SimulatorError(f"target: expected one of {', '.join(TARGETS)}, got {target!r}")
    if constants is not None and target not in ("cuda", "agx"):
        raise SimulatorError(f"constants: {target} takes them at each launch, only cuda and agx compile them in")
    unit = parse(source, include=include, defines=defines)
    emitter = _EMITTERS[target](unit, only)
    emitter.constants = constants
    text = emitter.emit()
    if emitter.errors:
        raise SimulatorError("\n".join(emitter.errors))
    settable = [d for d in unit.declarations if isinstance(d, FunctionConstant) and d.index is not None]
    if unknown := set(constants or ()) - {constant.name for constant in settable}:
        raise SimulatorError(f"constants: there is no function constant {', '.join(map(repr, sorted(unknown)))}")
    names = () if constants is not None else tuple(constant.name for constant in settable)
    return Translation(text, tuple(emitter.kernels), names)
