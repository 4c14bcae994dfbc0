"""Link stubs of macOS's own libraries, without its SDK.

A published wheel that runs on the deployment target states, symbol by symbol, which library of the system has what
(Mach-O's two-level namespace). So every symbol of these stubs is known to exist there, except those that the wheels
want only where they exist. The set is a lower bound: a symbol that is missing is not proven, rather than absent, and
fails the build.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from macho import MachO
from target import DEPLOYMENT_TARGET, MACHINE

SYSTEM = ("/usr/lib/", "/System/Library/")

# Apple's SDK lets those who link with the first use the symbols of the second.
REEXPORTED = {
    "/System/Library/Frameworks/Foundation.framework/Versions/C/Foundation": "/usr/lib/libobjc.A.dylib",
}

# What those wheels happen not to use. LLVM lists it in the ABI of Apple's libc++ for arm64:
# libcxx/lib/abi/arm64-apple-darwin.libcxxabi.v1.stable.exceptions.no_new_in_libcxx.abilist at 7ff79971b98a, of 2021.
LISTED_BY_LLVM = {
    "/usr/lib/libc++.1.dylib": ("__ZNKSt11logic_error4whatEv", "__ZNSt16invalid_argumentD2Ev"),
}


def version(text: str) -> tuple[int, ...]:
    """Makes versions comparable."""
    return tuple(map(int, text.split(".")))


def system_symbols(binaries: Iterable[MachO]) -> dict[str, dict[str, bool]]:
    """Collects what published binaries need of the system.

    Args:
        binaries: Libraries and modules from published wheels.

    Returns:
        Install name to the library's symbols, each with whether it is certain to be there on the deployment target.

    Raises:
        ValueError: A binary needs a newer system, so that it proves nothing.
    """
    found = {library: dict.fromkeys(symbols, True) for library, symbols in LISTED_BY_LLVM.items()}
    for binary in binaries:
        if version(binary.deployment_target) > version(DEPLOYMENT_TARGET):
            raise ValueError(f"a published binary needs macOS {binary.deployment_target}")
        for library in binary.libraries:
            if library.startswith(SYSTEM):
                symbols = found.setdefault(library, {})
                for wanted in binary.imports:
                    if wanted.library == library:
                        symbols[wanted.symbol] = symbols.get(wanted.symbol, False) or not wanted.optional
    return found


def stub_text(install_name: str, symbols: Iterable[str]) -> str:
    """One text-based stub, in version 4 of the format (a subset of YAML that JSON's lists and strings fit into)."""
    targets = f"[ {MACHINE}-macos ]"
    lines = [
        "--- !tapi-tbd",
        "tbd-version: 4",
        f"targets: {targets}",
        f"install-name: {json.dumps(install_name)}",
    ]
    if install_name in REEXPORTED:
        lines += [
            "reexported-libraries:",
            f"  - targets: {targets}",
            f"    libraries: {json.dumps([REEXPORTED[install_name]])}",
        ]
    lines += ["exports:", f"  - targets: {targets}", f"    symbols: {json.dumps(sorted(symbols))}", "...", ""]
    return "\n".join(lines)


def stub_paths(install_name: str) -> list[str]:
    """Where a linker looks for a library's stub, relative to the system's root.

    Args:
        install_name: What the stub is looked for by, besides the name that `-l` or `-framework` takes.
    """
    path = Path(install_name.lstrip("/"))
    if "Versions" in path.parts:
        return [str(path.parents[2] / f"{path.name}.tbd")]
    unversioned = path.name.removesuffix(".dylib").split(".")[0]
    return [str(path.with_suffix(".tbd")), str(path.with_name(f"{unversioned}.tbd"))]


def write_stubs(root: Path, libraries: Mapping[str, Iterable[str]]) -> None:
    """Writes a stub for each library.

    Args:
        root: What stands for the system's root folder.
        libraries: Install name to symbols.
    """
    for install_name, symbols in libraries.items():
        text = stub_text(install_name, symbols)
        for path in stub_paths(install_name):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
