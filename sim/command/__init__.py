"""The shell command `python -m fusedops.sim`."""

import argparse
import sys
from collections.abc import Sequence

from ..errors import SimulatorError
from ..translate import parse, translate
from .arguments import parser
from .checking import static_findings
from .listing import listing
from .registers import show_registers
from .running import run
from .sources import metal_source, resolve_mlx


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out a command: 0, or 1 with findings or an error. A command line that makes no sense exits with 2."""
    commands = {"run": run, "check": _check, "list": _list, "translate": _translate, "registers": show_registers}
    options = parser().parse_args(arguments)
    try:
        resolve_mlx(options)
        options.include = [*options.include, options.file.absolute().parent]  # FILE may be included by text
        return commands[options.name](options)
    except (SimulatorError, ValueError, MemoryError) as error:
        print(error, file=sys.stderr)
        return 1


def _check(options: argparse.Namespace) -> int:
    source = metal_source(options.file, options.instantiate, options.headers)
    findings = static_findings(options, source, options.only)
    for kernel in parse(source, include=options.include, defines=options.defines).uninstantiated:
        print(f"not checked: the template {kernel} has no instantiation; name one with --instantiate '{kernel}<...>'")
    print("\n".join(findings) or "no findings")
    return int(bool(findings))


def _list(options: argparse.Namespace) -> int:
    source = metal_source(options.file, options.instantiate, options.headers)
    print("\n".join(listing(parse(source, include=options.include, defines=options.defines))) or "no kernels")
    return 0


def _translate(options: argparse.Namespace) -> int:
    source = metal_source(options.file, options.instantiate, options.headers)
    translation = translate(source, options.target, include=options.include, defines=options.defines, only=options.only)
    print(translation.text, end="")
    return 0
