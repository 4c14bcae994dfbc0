"""The dialect of Metal that every executor takes alike: ASCII, explicit attributes, no overloads by address space."""

from collections.abc import Iterator
from pathlib import Path

from ..translate.declarations import ADDRESS_SPACES, Class, Declaration, Function, Kernel, Unit
from ..translate.lexer import Source
from ..translate.preprocess import SHIM
from ..translate.simulator import SimulatorEmitter


def dialect_findings(source: Path | str, unit: Unit) -> list[str]:
    """What is legal Metal but outside of the dialect. The unit's own errors are left to the translation."""
    return [*_not_ascii(source, unit.source), *_implicit_parameters(unit), *_qualified_methods(unit), *_merged(unit)]


def _not_ascii(source: Path | str, tokens: Source) -> Iterator[str]:
    """Run-time compilation may refuse other characters even in comments: read the files themselves."""
    if isinstance(source, str):
        yield from _not_ascii_lines("<metal>", source.encode())
    files = {Path(token.file) for token in tokens.tokens}
    for file in sorted(file for file in files if file.is_file() and SHIM not in file.resolve().parents):
        yield from _not_ascii_lines(str(file), file.read_bytes())


def _not_ascii_lines(file: str, text: bytes) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.isascii():
            yield f"{file}:{number}: dialect: source must be ASCII"


def _implicit_parameters(unit: Unit) -> Iterator[str]:
    for kernel in unit.kernels:
        for parameter in kernel.parameters:
            if not parameter.is_explicit:
                where, name = unit.source.where(parameter.start), unit.source[kernel.name]
                what = f"parameter '{parameter.name}' of kernel {name}"
                yield f"{where}: dialect: {what} needs an attribute such as [[buffer(n)]]"


def _classes(declarations: list[Declaration]) -> Iterator[Class]:
    for declaration in declarations:
        if isinstance(declaration, Class):
            yield declaration
            yield from _classes(declaration.members)


def _qualified_methods(unit: Unit) -> Iterator[str]:
    source = unit.source
    for member in (member for found in _classes(unit.declarations) for member in found.members):
        if isinstance(member, Function) and not isinstance(member, Kernel):
            end = source.partner(member.parameter_list) + 1
            if any(token.text in ADDRESS_SPACES for token in source.tokens[end : member.head]):
                yield f"{source.where(end)}: dialect: method '{source[member.name]}' is qualified by an address space"


def _merged(unit: Unit) -> Iterator[str]:
    emitter = SimulatorEmitter(unit)
    emitter.emit()
    for declaration in emitter.merged:
        where = unit.source.where(declaration.start)
        yield f"{where}: dialect: differs from an earlier declaration only in address spaces, which the simulator keeps"
