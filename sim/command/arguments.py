"""The command line of `python -m fusedops.sim`."""

import argparse
import re
from pathlib import Path

from ..run import ORDERS
from ..translate import TARGETS
from .buffers import SYNTAX

_RUN_EPILOG = f"""\
{SYNTAX}

--expect '2: np.tanh(b0) * b1' compares buffer 2 with a numpy expression of the buffers as they were before: b0, b1, ...
hold floats as float64; np, erf and the modules named by --import are there too.

The exit status is 1 if there are findings, 2 if the command line makes no sense, else 0.
"""

_REGISTERS_EPILOG = """\
An open compiler for the instruction set of M1 and M2 says it, which must be installed: docs/agx.md. Nothing is run. A
loop's numbers are those of one pass that takes every branch, without the loops inside of it.
"""


def parser() -> argparse.ArgumentParser:
    """One subparser for each command; `options.name` is the command's name."""
    top = argparse.ArgumentParser(prog="python -m fusedops.sim", description="Metal kernels without a Mac.")
    commands = top.add_subparsers(dest="name", title="commands", required=True, metavar="COMMAND")
    summaries = {
        "run": "run a kernel in several orders of its threads, with all checks",
        "check": "find what Metal's compiler would reject",
        "list": "show the kernels and their arguments",
        "translate": "print the C++ that a target compiles",
        "registers": "show what kernels take of Apple's M1 and M2 GPUs",
    }
    for name, summary in summaries.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=summary,
            epilog={"run": _RUN_EPILOG, "registers": _REGISTERS_EPILOG}.get(name),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        _add_source(command)
        if name == "run":
            _add_launch(command)
            _add_verdict(command)
        if name in ("run", "check"):
            command.add_argument("--allow", type=_regex, metavar="REGEX", help="accept findings that match")
        if name in ("check", "translate"):
            command.add_argument(
                "--only", type=_regex, metavar="REGEX", help="leave out kernels whose host names do not match"
            )
        if name == "translate":
            command.add_argument("--target", choices=TARGETS, default=TARGETS[0])
        if name == "registers":
            _add_compilation(command)
    return top


def _add_source(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "file", type=Path, metavar="FILE", help="a .metal file, a header with kernels, or mlx:NAME.h of the package mlx"
    )
    add = command.add_argument_group("source").add_argument
    add("-I", dest="include", action="append", default=[], metavar="DIR", help="a directory of headers")
    add("-D", dest="defines", action="append", default=[], metavar="NAME[=VALUE]", help="define a macro")
    add("--include", dest="headers", action="append", default=[], metavar="HEADER", help="include it before FILE")
    add(
        "--instantiate",
        action="append",
        default=[],
        metavar="'NAME<...>'",
        help="instantiate a template of kernels; its host name is NAME<...> without spaces",
    )


def _add_compilation(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "kernels", nargs="*", metavar="KERNEL", help="a host name, or 'NAME<...>' to instantiate a template; else all"
    )
    add = command.add_argument_group("compilation").add_argument
    add("--constant", type=_constant, action="append", default=[], metavar="NAME=VALUE", help="a function constant")
    add(
        "--threads",
        type=_thread_count,
        metavar="N",
        help="most threads of a threadgroup, which bounds registers; the kernel's own bound by default, else none",
    )
    add("--compare", nargs=2, metavar=("FILE", "KERNEL"), help="a kernel to show beside KERNEL, with ratios")


def _add_launch(command: argparse.ArgumentParser) -> None:
    command.add_argument("kernel", metavar="KERNEL", help="its host name, or 'NAME<...>' to instantiate a template")
    group = command.add_argument_group("launch")
    grid = group.add_mutually_exclusive_group(required=True).add_argument
    grid("--threadgroups", type=_extent, metavar="XxYxZ", help="as dispatchThreadgroups")
    grid("--threads", type=_extent, metavar="XxYxZ", help="as dispatchThreads: edge threadgroups may be smaller")
    add = group.add_argument
    add("--buffer", action="append", default=[], metavar="BUFFER", help="see below; in the order of the indices")
    add("--threads-per-threadgroup", type=_extent, default=(1,), metavar="XxYxZ", help="1 by default")
    add("--constant", type=_constant, action="append", default=[], metavar="NAME=VALUE", help="a function constant")
    add(
        "--threadgroup-memory",
        type=_threadgroup_memory,
        action="append",
        default=[],
        metavar="INDEX=BYTES",
        help="the length of a [[threadgroup(INDEX)]] argument",
    )
    add("--seed", type=int, default=0, help="of random buffers and of the random order")


def _add_verdict(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("verdict")
    add = group.add_argument
    add("--order", choices=(*ORDERS, "all"), default="all", help="of threads and threadgroups; all by default")
    add("--check", action="store_true", help="the check command's findings too")
    observer = group.add_mutually_exclusive_group().add_argument
    observer("--fast", action="store_true", help="without the checks of every memory access")
    observer("--count", action="store_true", help="count what the kernel costs, in place of these checks")
    add(
        "--expect",
        action="append",
        default=[],
        metavar="'INDEX: EXPRESSION'",
        help="what a buffer should hold; see below",
    )
    add("--tolerance", type=float, help="of --expect, relative; by default a few roundings of the dtype")
    add("--import", dest="modules", action="append", default=[], metavar="MODULE", help="a module for --expect")
    add("--time-limit", type=float, default=60, metavar="SECONDS", help="of each run; 60 by default, 0 for none")
    add("--save", type=Path, metavar="OUT.npz", help="write the buffers of the first order as b0, b1, ...")


def _regex(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from None
    return text


def _extent(text: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+([x,]\d+){0,2}", text):
        raise argparse.ArgumentTypeError(f"expected one to three numbers such as 32x4, got {text!r}")
    return tuple(map(int, re.split("[x,]", text)))


def _thread_count(text: str) -> int:
    if not re.fullmatch(r"\d+", text) or not 32 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"expected a number from 32 to 1024, got {text!r}")
    return int(text)


def _constant(text: str) -> tuple[str, bool | int | float]:
    name, _, value = text.partition("=")
    if value in ("true", "false"):
        return name, value == "true"
    try:
        return name, int(value, 0)
    except ValueError:
        pass
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE with a number, true or false, got {text!r}") from None


def _threadgroup_memory(text: str) -> tuple[int, int]:
    if not (match := re.fullmatch(r"(\d+)=(\d+)", text)):
        raise argparse.ArgumentTypeError(f"expected INDEX=BYTES, got {text!r}")
    return int(match[1]), int(match[2])
