"""Runs the project's own build with tools for the target."""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from target import MODULE_SUFFIX, PLATFORM, SOABI, WHEEL_PLATFORM

HERE = Path(__file__).parent
SYSCONFIG_MODULE = "_sysconfigdata__darwin_darwin"


def write_command(path: Path, command: list[str], **environment: Path) -> None:
    """Writes an executable file that runs a command with its own arguments added."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assignments = [f"{name}={shlex.quote(str(value))}" for name, value in environment.items()]
    path.write_text("#!/bin/sh\n" + " ".join([*assignments, "exec", shlex.join(command), '"$@"']) + "\n")
    path.chmod(0o755)


def write_tools(work: Path, linker: list[str], sysroot: Path) -> None:
    """Writes the compiler and the other tools that toolchain.cmake names.

    Args:
        work: The folder for all that is built.
        linker: The command that runs ld64.lld.
        sysroot: The folder with the stubs of the system's libraries.
    """
    folder = work / "bin"
    caches = {"ZIG_GLOBAL_CACHE_DIR": work / "zig-cache", "ZIG_LOCAL_CACHE_DIR": work / "zig-cache"}
    write_command(folder / "ld64.lld", linker)
    write_command(
        folder / "c++",
        [sys.executable, str(HERE / "compiler.py")],
        FUSEDOPS_MACOS_LINKER=folder / "ld64.lld",
        FUSEDOPS_MACOS_SYSROOT=sysroot,
        **caches,
    )
    for tool in ("ar", "ranlib"):
        write_command(folder / tool, [sys.executable, "-m", "ziglang", tool], **caches)
    write_command(folder / "install_name_tool", ["false"])  # a rewritten module would lose its signature


def write_sysconfig(folder: Path) -> None:
    """Writes what Python's sysconfig says on the target, which names the modules."""
    variables = {name: value for name, value in sysconfig.get_config_vars().items() if isinstance(value, str | int)}
    variables |= {"EXT_SUFFIX": MODULE_SUFFIX, "SOABI": SOABI, "MULTIARCH": "darwin"}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{SYSCONFIG_MODULE}.py").write_text(f"build_time_vars = {variables!r}\n")


def build(project: Path, work: Path, site: Path) -> Path:
    """Builds the wheel.

    Args:
        project: The project's root.
        work: The folder for all that is built.
        site: The site-packages folder of a Mac.

    Returns:
        The wheel.

    Raises:
        RuntimeError: The build failed; its log says why.
    """
    write_sysconfig(work / "sysconfig")
    dist = work / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    settings = {
        "build-dir": work / "cmake",
        "install.strip": "false",  # it would break the signature
        "cmake.define.CMAKE_TOOLCHAIN_FILE": HERE / "toolchain.cmake",
        "cmake.define.MLX_ROOT": site / "mlx",
        "cmake.define.FUSEDOPS_STUBS": "OFF",
    }
    environment = os.environ | {
        "FUSEDOPS_MACOS_BIN": str(work / "bin"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{work / 'sysconfig'}{os.pathsep}{site}",  # the build asks for MLX's version
        "_PYTHON_HOST_PLATFORM": PLATFORM,
        "_PYTHON_SYSCONFIGDATA_NAME": SYSCONFIG_MODULE,
    }
    options = [f"--config-setting={name}={value}" for name, value in settings.items()]
    command = ["build", "--wheel", "--no-isolation", "--skip-dependency-check", "--outdir", str(dist), *options]
    log = work / "build.log"
    with log.open("w") as output:
        status = subprocess.call(
            [sys.executable, "-m", *command, str(project)], env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    if status:
        tail = "\n".join(log.read_text().splitlines()[-60:])
        raise RuntimeError(f"{tail}\nthe build failed; {log} has all of its output")
    (wheel,) = dist.glob(f"*-{WHEEL_PLATFORM}.whl")
    return wheel
