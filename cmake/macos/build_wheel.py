"""Builds the wheel for Macs on Linux, and checks what can be checked without a Mac. `make mac-wheel` runs it.

docs/mac-wheel.md says what this proves.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import check
import controls
import cross_build
import inputs
import system_stubs
from check_wheel import check_wheel
from macho import MachO
from report import Report
from target import MODULE_SUFFIX

PROJECT = Path(__file__).parents[2]


def nanobind_list() -> Path:
    """The symbols that nanobind lets a module for macOS leave undefined."""
    found = subprocess.run(
        [sys.executable, "-m", "nanobind", "--cmake_dir"], check=True, capture_output=True, text=True
    )
    return Path(found.stdout.strip()) / "darwin-ld-cpython.sym"


def fetch(report: Report, work: Path, pyproject: inputs.Pyproject, torch: str) -> tuple[list[str], Path]:
    """Fetches what is not there yet.

    Returns:
        The linker's command, and the folder of the macOS packages.
    """
    versions = {"mlx": pyproject.mlx(), "mlx-metal": pyproject.mlx(), "torch": torch}
    requirements = [f"{r.name}{r.specifier}" for r in pyproject.build_requirements() if r.name not in versions]
    inputs.pip("install", "-qq", *requirements)
    report.step(f"build requirements: {', '.join(requirements)}")

    linker = inputs.linker(work / "debian")
    report.step(f"linker: {linker[-1]}")

    site = work / "site-packages"
    inputs.macos_packages(site, versions)
    report.step(f"macOS packages: {', '.join(f'{name} {version}' for name, version in versions.items())}")
    return linker, site


def build_and_check(report: Report, work: Path, pyproject: inputs.Pyproject, linker: list[str], site: Path) -> bool:
    """Builds the wheel and checks it, with what was fetched.

    Returns:
        Whether the wheel passes.
    """
    published = {path.name: MachO(path.read_bytes()) for path in [*site.glob("*/*.so"), *site.glob("*/lib/*.dylib")]}
    system = system_stubs.system_symbols(published.values())
    system_stubs.write_stubs(work / "sysroot", system)
    count = sum(map(len, system.values()))
    report.step(f"system stubs: {count} symbols of {len(system)} libraries, from {', '.join(published)}")

    cross_build.write_tools(work, linker, work / "sysroot")
    wheel = cross_build.build(PROJECT, work, site)
    report.step(f"built {wheel.name}, {wheel.stat().st_size} bytes, without type stubs: they need the modules imported")

    evidence = check.Evidence(
        system=system,
        mlx=published["libmlx.dylib"],
        mlx_core=published[f"core{MODULE_SUFFIX}"],
        torch=published["libtorch_cpu.dylib"],
        python=check.python_symbols(nanobind_list()),
    )
    problems, modules = check_wheel(report, wheel, evidence, PROJECT, pyproject)
    for problem in problems:
        report.line(f"WRONG: {problem}")
    if problems:
        return False

    report.line("negative controls")
    refused = controls.linker_notices(work / "controls", work / "bin/c++", site / "mlx")
    changed, renamed = controls.checker_notices(modules["_mlx"], evidence)
    report.line(f"  unexported function called  {refused}")
    report.line(f"  one bit of code changed     {changed}")
    report.line(f"  one import renamed          {renamed}")
    report.step(f"passed: {wheel}")
    return True


def main() -> int:
    """Runs from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="the folder for all that is fetched and built")
    parser.add_argument("--torch", required=True, metavar="VERSION", help="the version of PyTorch to check against")
    parser.add_argument("--only-fetch", action="store_true", help="fetch what is needed, and build nothing")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    with (work / "report.txt").open("w") as file:
        report = Report(file)
        try:
            pyproject = inputs.Pyproject(PROJECT / "pyproject.toml")
            linker, site = fetch(report, work, pyproject, arguments.torch)
            passed = arguments.only_fetch or build_and_check(report, work, pyproject, linker, site)
        except (RuntimeError, ValueError, subprocess.CalledProcessError) as error:
            report.line(f"{error}")
            passed = False
        if not passed:
            report.step("FAILED")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
