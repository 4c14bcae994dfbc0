"""Times fusedops beside the frameworks' own operators.

    python bench/run.py --suite llama --device cpu --dtype bf16 --json results.json
    python bench/run.py --suite attention --device sim

The second counts instead of timing: what attention's Metal kernels and MLX's cost in the simulator. Every
implementation is checked against float64. Exit status: 0; 1: an implementation computes something wrong; 2: arguments
that make no sense, or a device that is not here.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from shutil import which

if not __package__:  # run as a script: Python then looks for modules in bench/ instead of beside it
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from bench.cases import ITEM_SIZES, SUITES, Case, Sdpa, cases_of
from bench.devices import DEVICES, SIMULATOR, why_missing
from bench.timing import BUDGET_SECONDS

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
COMPILERS = ("c++", "g++", "clang++")


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_line()
    options = parser.parse_args(argv)
    if options.threads:
        set_threads(options.threads)
    devices = chosen_devices(parser, options.device or ["all"])
    cases = {device: cases_of(options.suite or ["quick"], device) for device in devices}
    counted = [case for case in cases.get(SIMULATOR, []) if isinstance(case, Sdpa)]
    if SIMULATOR in cases:
        cases = {SIMULATOR: [*counted]}
        if not counted:
            parser.error(f"--suite {options.suite[0]}: has no attention, which is what --device {SIMULATOR} counts")
    dtypes = list(dict.fromkeys(options.dtype or (["f16"] if SIMULATOR in devices else ["f32", "bf16"])))
    if options.list:
        list_cases(cases, dtypes)
        return 0
    for module in ("fusedops", "rich"):
        if find_spec(module) is None:
            parser.error(f"{module} is not installed: pip install '.[bench]'")
    if options.compile and not any(map(which, COMPILERS)):
        parser.error("--compile: there is no C++ compiler here, which the frameworks' compilers need")

    from bench.reference import WrongResult

    try:
        if counted:
            from bench.counting_session import run as count

            count(counted, dtypes, options.json)
        else:
            from bench.session import run

            run(cases, dtypes, options.compile, options.seconds, options.json)
    except WrongResult as error:
        print(f"wrong result: {error}", file=sys.stderr)
        return 1
    return 0


def command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench/run.py",
        description="Times fusedops beside the frameworks' own operators.",
        epilog="suites:\n" + "\n".join(f"  {name:12} {first_line(suite.__doc__)}" for name, suite in SUITES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--suite", action="append", choices=SUITES, help="which cases; repeatable; default: quick")
    parser.add_argument(
        "--device",
        action="append",
        choices=[*DEVICES, SIMULATOR, "all"],
        help=f"where; repeatable; default: all that are here. {SIMULATOR}: counts what Metal kernels of attention cost",
    )
    parser.add_argument("--dtype", action="append", choices=ITEM_SIZES, help="repeatable; default: f32 and bf16")
    parser.add_argument("--threads", type=positive, metavar="N", help="CPU threads; default: as many as the CPU has")
    parser.add_argument(
        "--seconds",
        type=seconds,
        default=BUDGET_SECONDS,
        metavar="S",
        help="how long each implementation of a case is timed; default: %(default)s",
    )
    parser.add_argument("--compile", action="store_true", help="also time the frameworks' own through their compilers")
    parser.add_argument("--json", type=writable, metavar="PATH", help="write the results there, too")
    parser.add_argument("--list", action="store_true", help="print the cases and exit")
    return parser


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return int(text)


def seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value


def writable(text: str) -> Path:
    path = Path(text)
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"cannot write {text!r}")
    return path


def first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]


def set_threads(threads: int) -> None:
    """Has to come before any framework is imported: they read these variables once."""
    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(threads)


def chosen_devices(parser: argparse.ArgumentParser, requested: list[str]) -> list[str]:
    """Those that were asked for, all of which have to be here; "all" stands for those that are."""
    explicit = list(dict.fromkeys(device for device in requested if device != "all"))
    if SIMULATOR in explicit and len(requested) > 1:
        parser.error(f"--device {SIMULATOR}: expected it alone, since it counts and the others time")
    for device in explicit:
        if reason := why_missing(device):
            parser.error(f"--device {device}: {reason}")
    if "all" not in requested:
        return explicit
    missing = {device: why_missing(device) for device in DEVICES}
    for reason in dict.fromkeys(filter(None, missing.values())):
        print(f"left out: {reason}", file=sys.stderr)
    here = [device for device, reason in missing.items() if reason is None]
    return here or parser.error("there is nothing to time: neither torch nor mlx is installed")


def list_cases(cases: dict[str, list[Case]], dtypes: list[str]) -> None:
    for device, of_device in cases.items():
        for dtype in dtypes:
            for case in of_device:
                print(f"{device:8} {dtype:5} {case.op:9} {case.name}")


if __name__ == "__main__":
    sys.exit(main())
