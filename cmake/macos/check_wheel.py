"""Checks a whole wheel, and says what was checked."""

import re
import zipfile
from email import message_from_bytes
from pathlib import Path

import check
from inputs import Pyproject
from macho import MachO
from packaging.requirements import Requirement
from report import Report
from target import DARWIN, MODULE_SUFFIX

MODULES = ("_core", "_mlx", "_torch")
GENERATED = (".pyc", ".pyi", ".so")
SHIM = "csrc/torch/shim.h"


def file_problems(names: set[str], project: Path, pyproject: Pyproject) -> list[str]:
    """Which of the project's Python packages' files a wheel lacks."""
    expected = {
        str(package / path.relative_to(project / source))
        for package, source in pyproject.packages().items()
        for path in (project / source).rglob("*")
        if path.is_file() and path.suffix not in GENERATED
    }
    return [f"the wheel lacks {name}" for name in sorted(expected - names)]


def metadata_problems(contents: dict[str, bytes], mlx: str) -> list[str]:
    """Whether the wheel asks for another MLX than its module was linked against."""
    (metadata,) = (data for name, data in contents.items() if name.endswith(".dist-info/METADATA"))
    requirements = map(Requirement, message_from_bytes(metadata).get_all("Requires-Dist", []))
    wanted = [str(r.specifier) for r in requirements if r.name == "mlx" and (not r.marker or r.marker.evaluate(DARWIN))]
    stated = re.findall(r'MLX_VERSION = "(.*)"', contents["fusedops/_build_config.py"].decode())
    problems = [] if wanted == [f"=={mlx}"] else [f"the metadata asks for mlx {wanted} on a Mac, not =={mlx}"]
    return problems + ([] if stated == [mlx] else [f"_build_config.py states mlx {stated}, not {mlx}"])


def module_problems(name: str, binary: MachO, evidence: check.Evidence, shim: Path) -> list[str]:
    """Everything that is wrong with one module."""
    problems = check.import_problems(binary, evidence)
    problems += check.signature_problems(binary)
    problems += check.deployment_problems(binary)
    if name == "_mlx":
        problems += check.nanobind_problems(binary, evidence)
        problems += check.metal_problems(binary)
    if name == "_torch":
        problems += check.torch_problems(check.torch_names(binary, shim), evidence)
    return [f"{name}: {problem}" for problem in problems]


def describe_module(report: Report, name: str, binary: MachO) -> None:
    """Prints what was checked of a module."""
    pages, right = binary.signed_pages()
    counts = ", ".join(f"{library} {count}" for library, count in sorted(check.import_counts(binary).items()))
    report.line(name)
    report.line(f"  undefined symbols           {len(binary.imports)}: {counts}")
    report.line(f"  code signature              {right} of {pages} page hashes right")
    report.line(f"  minimum macOS               {binary.deployment_target}")
    report.line(f"  nanobind key                {check.nanobind_key(binary)}")
    report.line(f"  rpaths                      {', '.join(binary.rpaths) or 'none'}")


def describe_torch(report: Report, names: dict[str, bool], evidence: check.Evidence) -> None:
    """Prints which functions _torch asks libtorch for."""
    present = {name for name in names if f"_{name}" in evidence.torch.exports}
    absent = sorted(names.keys() - present)
    report.line(f"  libtorch functions by name  {len(present)} of {len(names)} exported by libtorch_cpu.dylib")
    report.line(f"  absent there                {', '.join(absent) or 'none'}")


def describe_contents(report: Report, archive: zipfile.ZipFile) -> None:
    """Lists the files of a wheel."""
    entries = archive.infolist()
    for entry in entries:
        report.detail(f"{entry.file_size:9d}  {entry.filename}")
    report.line(f"{len(entries)} files, {sum(entry.file_size for entry in entries)} bytes unpacked")


def check_wheel(
    report: Report, wheel: Path, evidence: check.Evidence, project: Path, pyproject: Pyproject
) -> tuple[list[str], dict[str, bytes]]:
    """Checks a wheel and prints what was found.

    Args:
        report: Where to print.
        wheel: The wheel.
        evidence: What the target is known to have.
        project: The project's root.
        pyproject: What the project states.

    Returns:
        What is wrong with it, and its native modules by name.
    """
    with zipfile.ZipFile(wheel) as archive:
        describe_contents(report, archive)
        contents = {name: archive.read(name) for name in archive.namelist()}
    paths = {name: f"fusedops/{name}{MODULE_SUFFIX}" for name in MODULES}
    problems = file_problems(set(contents), project, pyproject)
    problems += [f"the wheel lacks {path}" for path in paths.values() if path not in contents]
    problems += metadata_problems(contents, pyproject.mlx())
    modules = {name: contents[path] for name, path in paths.items() if path in contents}
    for name, data in modules.items():
        binary = MachO(data)
        problems += module_problems(name, binary, evidence, project / SHIM)
        describe_module(report, name, binary)
        if name == "_torch":
            describe_torch(report, check.torch_names(binary, project / SHIM), evidence)
    report.line("mlx.core, as published")
    report.line(f"  nanobind key                {check.nanobind_key(evidence.mlx_core)}")
    return problems, modules
