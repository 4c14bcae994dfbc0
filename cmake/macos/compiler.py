"""A C++ compiler for macOS that runs on Linux: zig's clang and libc++ headers compile, ld64.lld links.

Zig's own Mach-O linker is not used: it takes no list of the symbols that may stay undefined, and `-lc++` makes it link
a libc++ of its own. Compiling and linking in one call is not supported.

Environment:
    FUSEDOPS_MACOS_LINKER: ld64.lld.
    FUSEDOPS_MACOS_SYSROOT: The folder with the stubs of the system's libraries (see system_stubs.py).
"""

import os
import subprocess
import sys
from pathlib import Path

from target import DEPLOYMENT_TARGET, MACHINE

ZIG = [sys.executable, "-m", "ziglang", "c++", "-target", f"aarch64-macos.{DEPLOYMENT_TARGET}"]
COMPILE = [
    "-isystem",
    str(Path(__file__).parent / "include"),
    "-fno-sanitize=undefined",  # zig's default without optimization
    # Sized deallocation is not in every libc++ that Apple has shipped; Apple's clang leaves it off too.
    "-fno-sized-deallocation",
    # Apple's marks of what each system's libc++ has, which zig turns off. With them what macOS 14 lacks is an error.
    "-U_LIBCPP_HAS_VENDOR_AVAILABILITY_ANNOTATIONS",
    "-D_LIBCPP_HAS_VENDOR_AVAILABILITY_ANNOTATIONS=1",
]
NOT_LINKING = {"-c", "-E", "-S", "-M", "-MM", "--version", "-dumpversion", "-dumpmachine"}
LINKER_OPTIONS_WITH_VALUE = {"-o", "-framework", "-weak_framework", "-install_name", "-rpath"}


def linker_arguments(arguments: list[str]) -> list[str]:
    """Keeps of a compiler's command line what is for the linker; optimization levels and the like are not."""
    kept: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument.startswith("-Wl,"):
            kept += argument.split(",")[1:]
        elif argument == "-Xlinker":
            kept.append(next(remaining))
        elif argument in LINKER_OPTIONS_WITH_VALUE:
            kept += [argument, next(remaining)]
        elif argument == "-dynamiclib":
            kept.append("-dylib")
        elif argument == "-bundle" or argument.startswith(("-L", "-l")) or not argument.startswith("-"):
            kept.append(argument)
    return kept


def command(arguments: list[str]) -> list[str]:
    """Translates one call of the compiler.

    Args:
        arguments: The command line, without the compiler's name.

    Returns:
        The command to run.
    """
    # MLX's CMake files name the frameworks of the Mac that MLX was built on; here they are in the system's root.
    arguments = [argument for argument in arguments if not argument.startswith("-F")]
    if NOT_LINKING.intersection(arguments):
        return [*ZIG, *COMPILE, *arguments]
    return [
        os.environ["FUSEDOPS_MACOS_LINKER"],
        "-demangle",
        *("-arch", MACHINE),
        *("-platform_version", "macos", DEPLOYMENT_TARGET, DEPLOYMENT_TARGET),
        *("-syslibroot", os.environ["FUSEDOPS_MACOS_SYSROOT"]),
        *linker_arguments(arguments),
        "-lc++",
        "-lSystem",
    ]


if __name__ == "__main__":
    sys.exit(subprocess.call(command(sys.argv[1:])))
