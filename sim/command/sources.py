"""The text that a command works on: a .metal file, or a header made into one."""

import argparse
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from ..errors import SimulatorError

_MLX_PREFIX = "mlx:"


def resolve_mlx(options: argparse.Namespace) -> None:
    """Make FILE of `mlx:softmax.h` a header of the installed mlx package, with what its headers need.

    SimulatorError: mlx is not installed.
    """
    name = str(options.file)
    if not name.startswith(_MLX_PREFIX):
        return
    package = importlib.util.find_spec("mlx")  # found without importing it
    if package is None or not package.submodule_search_locations:
        raise SimulatorError(f"{name}: the package mlx is not installed")
    include = Path(package.submodule_search_locations[0]) / "include"
    kernels = "mlx/backend/metal/kernels"
    options.file = include / kernels / name.removeprefix(_MLX_PREFIX)
    options.include = [*options.include, include]
    options.headers = [f"{kernels}/utils.h", *options.headers]


def host_name(instantiation: str) -> str:
    """The host name of `f<float, 4>` is `f<float,4>`."""
    return "".join(instantiation.split())


def metal_source(file: Path, instantiations: Sequence[str], headers: Sequence[str]) -> Path | str:
    """The file itself, or Metal text that includes `headers` and the file and instantiates templates of kernels.

    A header is given what it expects of the file that includes it: Metal's library and `using namespace metal`.
    SimulatorError: the file does not exist.
    """
    if not file.is_file():
        raise SimulatorError(f"{file}: no such file")
    is_header = file.suffix != ".metal"
    if not (instantiations or headers or is_header):
        return file
    lines = ["#include <metal_stdlib>", "using namespace metal;"] if is_header else []
    lines += [f'#include "{header}"' for header in (*headers, file.resolve())]
    for kernel in instantiations:
        lines.append(f'template [[host_name("{host_name(kernel)}")]] [[kernel]] decltype({kernel}) {kernel};')
    return "\n".join(lines) + "\n"
