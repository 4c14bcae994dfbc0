"""What the cross build takes from elsewhere: what the project states, the macOS wheels to link against, and a linker.

All that is fetched is kept in the folder given, and fetched only once.
"""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from packaging.requirements import Requirement
from target import DARWIN, PYTHON, WHEEL_PLATFORM

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LINKERS = ("ld64.lld", "ld64.lld-22", "ld64.lld-19")
DEBIAN_PACKAGES = ("lld-19", "libllvm19")


class Pyproject:
    """What the project's pyproject.toml states.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._stated = tomllib.loads(path.read_text())

    def build_requirements(self) -> list[Requirement]:
        """What a build for the target requires."""
        requirements = [Requirement(text) for text in self._stated["build-system"]["requires"]]
        return [r for r in requirements if r.marker is None or r.marker.evaluate(DARWIN)]

    def mlx(self) -> str:
        """The version of MLX that the build requires."""
        (version,) = (str(r.specifier).removeprefix("==") for r in self.build_requirements() if r.name == "mlx")
        return version

    def packages(self) -> dict[Path, Path]:
        """The Python packages: their folder in the wheel, and in the project."""
        stated = self._stated["tool"]["scikit-build"]["wheel"]["packages"]
        if isinstance(stated, list):
            stated = {Path(source).name: source for source in stated}
        return {Path(package): Path(source) for package, source in stated.items()}


def pip(*arguments: str) -> None:
    """Runs this interpreter's pip.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments], check=True)


def wanted_member(name: str) -> bool:
    """Whether a file of a wheel is needed: no GPU code, and of torch nothing but its libraries."""
    if name.startswith("torch/"):
        return name in ("torch/lib/libtorch_cpu.dylib", "torch/lib/libtorch_python.dylib", "torch/lib/libc10.dylib")
    return name.startswith(("mlx/", "mlx-", "mlx_metal-", "torch-")) and not name.endswith(".metallib")


def unpack(wheel: Path, site: Path, wanted: Callable[[str], bool]) -> None:
    """Unpacks the wanted files of a wheel, its metadata last: it tells that the rest is there."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if wanted(name)]
        for name in sorted(names, key=lambda name: ".dist-info/" in name):
            archive.extract(name, site)


def macos_packages(site: Path, versions: dict[str, str]) -> None:
    """Makes a site-packages folder of a Mac.

    Args:
        site: The folder.
        versions: Package to version.

    Raises:
        subprocess.CalledProcessError: A wheel cannot be had.
    """
    missing = {
        package: version
        for package, version in versions.items()
        if not (site / f"{package.replace('-', '_')}-{version}.dist-info" / "RECORD").exists()
    }
    if not missing:
        return
    downloads = site.with_name("downloads")
    pip(
        *("download", "-qq", "--no-deps", "--only-binary=:all:", "--dest", str(downloads)),
        *("--platform", WHEEL_PLATFORM, "--python-version", PYTHON),
        *(f"{package}=={version}" for package, version in missing.items()),
    )
    for wheel in downloads.glob("*.whl"):
        unpack(wheel, site, wanted_member)
    shutil.rmtree(downloads)


def linker(folder: Path) -> list[str]:
    """Finds LLVM's linker for Mach-O, or unpacks Debian's, which needs no rights.

    Args:
        folder: Where Debian's packages are unpacked.

    Returns:
        The command that runs it.

    Raises:
        RuntimeError: There is none, and this is no Debian that has it.
    """
    for name in LINKERS:
        if path := shutil.which(name):
            return [path]
    unpacked = folder / "usr/lib/llvm-19/bin/ld64.lld"
    if not unpacked.exists():
        if not shutil.which("apt-get"):
            raise RuntimeError(f"no ld64.lld: install LLVM's lld, so that one of {', '.join(LINKERS)} is on PATH")
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", *DEBIAN_PACKAGES], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True)
            package.unlink()
    (libraries,) = folder.glob("usr/lib/*-linux-gnu")
    return ["env", f"LD_LIBRARY_PATH={libraries}", str(unpacked)]
