"""The static check: what Metal's compiler would reject, and what some executor of this project could not take."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import SimulatorError
from ..translate import parse, translate
from .clang import clang_findings
from .dialect import dialect_findings


def check(
    source: Path | str,
    *,
    include: Sequence[Path | str] = (),
    defines: Sequence[str] = (),
    only: str | None = None,
) -> list[str]:
    """Check a .metal file (a Path) or Metal text (a str): findings as `file:line: what`, none when it is clean.

    The arguments are those of `translate`. Templates are checked as far as they are instantiated. SimulatorError: the
    file does not exist or cannot be preprocessed, or libclang is missing.
    """
    findings = dialect_findings(source, parse(source, include=include, defines=defines))
    try:
        translation = translate(source, "opencl", include=include, defines=defines, only=only)
    except SimulatorError as error:
        return [*findings, *str(error).splitlines()]
    return list(dict.fromkeys([*findings, *clang_findings(translation.text)]))
