"""Checks of a cross-built module that take no linker's word: each import is looked up where it must be."""

import ctypes
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from macho import Import, MachO
from target import DEPLOYMENT_TARGET

NANOBIND_KEY = re.compile(r"nanobind_\w+_a\d+_v\d+\w*")
NANOBIND_DOMAIN = "mlx"

MLX_METAL = "N3mlx4core5metal"  # as names in it are mangled

# Names that _torch passes to dlsym: of libtorch's C functions, and mangled ones.
TORCH_NAME = re.compile(r"(?:aoti_)?torch_\w+|_Z\w+")
TORCH_MACRO = re.compile(r"#define (FUSEDOPS_TORCH_\w+)\(APPLY\)((?:.*\\\n)*.*)")


@dataclass(frozen=True)
class Evidence:
    """What the target is known to have.

    Attributes:
        system: The system's libraries: install name to symbols, each with whether it is certain to be there.
        mlx: The real libmlx.
        mlx_core: The real mlx.core.
        torch: The real libtorch_cpu.
        python: Symbols that a Python module may leave to the interpreter.
    """

    system: dict[str, dict[str, bool]]
    mlx: MachO
    mlx_core: MachO
    torch: MachO
    python: set[str]

    mlx_name = "@rpath/libmlx.dylib"


def python_symbols(nanobind_list: Path) -> set[str]:
    """What nanobind lets a module leave undefined, as far as this version of CPython has it.

    Args:
        nanobind_list: nanobind's darwin-ld-cpython.sym.

    Returns:
        The symbols. CPython's C API is the same on each platform, so this interpreter answers for the target's.
    """
    named: list[str] = re.findall(r"-U _(\S+)", nanobind_list.read_text())
    return {f"_{name}" for name in named if hasattr(ctypes.pythonapi, name)}


def import_problem(wanted: Import, evidence: Evidence) -> str | None:
    """What is wrong with one import; None if nothing is."""
    if wanted.library is None:
        known, where = wanted.symbol in evidence.python, "CPython"
    elif wanted.library == evidence.mlx_name:
        known, where = wanted.symbol in evidence.mlx.exports, "libmlx.dylib"
    else:
        known, where = evidence.system.get(wanted.library, {}).get(wanted.symbol, False), wanted.library
    return None if known or wanted.optional else f"{wanted.symbol} is not known to be in {where}"


def import_problems(binary: MachO, evidence: Evidence) -> list[str]:
    """What is wrong with a module's imports."""
    return [problem for wanted in binary.imports if (problem := import_problem(wanted, evidence))]


def import_counts(binary: MachO) -> Counter[str]:
    """How many symbols a module takes of each library."""
    return Counter(Path(wanted.library).name if wanted.library else "CPython" for wanted in binary.imports)


def signature_problems(binary: MachO) -> list[str]:
    """What is wrong with a module's code signature; macOS on Apple silicon loads no other code than signed."""
    pages, right = binary.signed_pages()
    return [] if pages == right else [f"{pages - right} of {pages} signed pages have another hash"]


def deployment_problems(binary: MachO) -> list[str]:
    """Whether a module is for another macOS than the wheel says."""
    if binary.deployment_target == DEPLOYMENT_TARGET:
        return []
    return [f"is for macOS {binary.deployment_target}, not {DEPLOYMENT_TARGET}"]


def nanobind_key(binary: MachO) -> str:
    """The key under which a module shares its types with others; two modules share them only if it is the same.

    Raises:
        ValueError: The module has not exactly one.
    """
    keys = {text for text in binary.strings if NANOBIND_KEY.fullmatch(text)}
    if len(keys) != 1:
        raise ValueError(f"expected one nanobind key, found {sorted(keys)}")
    return keys.pop()


def nanobind_problems(binary: MachO, evidence: Evidence) -> list[str]:
    """Whether _mlx would not recognize the arrays of mlx.core."""
    problems = []
    if nanobind_key(binary) != nanobind_key(evidence.mlx_core):
        problems.append(f"nanobind key {nanobind_key(binary)}, mlx.core has {nanobind_key(evidence.mlx_core)}")
    problems += [
        f"{name} has no nanobind domain {NANOBIND_DOMAIN}"
        for name, module in (("_mlx", binary), ("mlx.core", evidence.mlx_core))
        if NANOBIND_DOMAIN not in module.strings
    ]
    return problems


def metal_problems(binary: MachO) -> list[str]:
    """Whether _mlx was built without its Metal encoder, which would use MLX's Metal device."""
    used = any(wanted.library == Evidence.mlx_name and MLX_METAL in wanted.symbol for wanted in binary.imports)
    return [] if used else ["uses nothing of mlx::core::metal"]


def torch_names(binary: MachO, shim: Path) -> dict[str, bool]:
    """The functions that _torch asks libtorch for by name.

    Args:
        binary: The module, whose string literals they are.
        shim: csrc/torch/shim.h, which tells those that may be absent: macros that say OPTIONAL list them.

    Returns:
        Name to whether it must be there.

    Raises:
        ValueError: The module lacks a name that the header lists, so that names are not found as they should be.
    """
    asked = {text for text in binary.strings if TORCH_NAME.fullmatch(text)}
    listed: dict[str, bool] = {}
    for macro, body in TORCH_MACRO.findall(shim.read_text()):
        listed.update({name: "OPTIONAL" not in macro for name in re.findall(r"\b" + TORCH_NAME.pattern, body)})
    if not listed or (lost := listed.keys() - asked):
        raise ValueError(f"_torch does not hold the names that {shim.name} lists: {sorted(lost)}")
    return {name: listed.get(name, True) for name in asked}


def torch_problems(names: dict[str, bool], evidence: Evidence) -> list[str]:
    """Which of the names that must be there libtorch lacks."""
    absent = [name for name, required in names.items() if required and f"_{name}" not in evidence.torch.exports]
    return [f"libtorch_cpu.dylib has no {name}" for name in sorted(absent)]
