"""Proof that the checks can fail: what must be noticed, is."""

import subprocess
from pathlib import Path

from check import Evidence, import_problems, signature_problems
from macho import MachO

# Both are declared in MLX's headers; libmlx exports the first and not the second.
EXPORTED_CALL = "mlx::core::contiguous(array, false)"
HIDDEN_CALL = "mlx::core::copy_gpu(array, array, mlx::core::CopyType::General)"
HIDDEN_SYMBOL = "mlx::core::copy_gpu("

SOURCE = """\
#include <mlx/backend/gpu/copy.h>
#include <mlx/ops.h>
void call(mlx::core::array& array) {{ {call}; }}
"""


def link(folder: Path, compiler: Path, mlx: Path, call: str) -> subprocess.CompletedProcess[str]:
    """Compiles one call into libmlx and links it as the modules are linked.

    Args:
        folder: Where to write.
        compiler: The C++ compiler for macOS.
        mlx: The mlx package for macOS.
        call: The expression.

    Returns:
        The linker's result.

    Raises:
        subprocess.CalledProcessError: It does not compile.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source, compiled = folder / "control.cpp", folder / "control.o"
    source.write_text(SOURCE.format(call=call))
    includes = [f"-I{mlx / 'include'}", f"-I{mlx / 'include/metal_cpp'}"]
    subprocess.run([compiler, "-std=c++20", *includes, "-c", source, "-o", compiled], check=True)
    module, library = folder / "control.so", mlx / "lib/libmlx.dylib"
    return subprocess.run(
        [compiler, "-bundle", "-o", module, compiled, library], check=False, capture_output=True, text=True
    )


def linker_notices(folder: Path, compiler: Path, mlx: Path) -> str:
    """Links a call of what libmlx exports, and one of what it does not.

    Returns:
        What the linker said of the second.

    Raises:
        RuntimeError: The first failed, or the second did not fail for the symbol.
    """
    if (exported := link(folder, compiler, mlx, EXPORTED_CALL)).returncode:
        raise RuntimeError(f"a call of an exported function does not link:\n{exported.stderr}")
    hidden = link(folder, compiler, mlx, HIDDEN_CALL)
    undefined = [line for line in hidden.stderr.splitlines() if "undefined symbol" in line]
    if not hidden.returncode or len(undefined) != 1 or HIDDEN_SYMBOL not in undefined[0]:
        raise RuntimeError(f"a call of a function that libmlx does not export was not refused:\n{hidden.stderr}")
    return undefined[0].strip()


def checker_notices(module: bytes, evidence: Evidence) -> list[str]:
    """Damages a module in two ways.

    Args:
        module: A module that passes the checks.
        evidence: What it was checked against.

    Returns:
        What the checks said of the damaged ones.

    Raises:
        RuntimeError: They said nothing.
    """
    binary = MachO(module)
    offset, _ = binary.section("__TEXT", "__text")
    changed = bytearray(module)
    changed[offset] ^= 1
    name = next(wanted.symbol for wanted in binary.imports if wanted.library == evidence.mlx_name).encode()
    renamed = module.replace(name + b"\0", name[:-1] + b"?\0")
    said = [signature_problems(MachO(bytes(changed))), import_problems(MachO(renamed), evidence)]
    if not all(said):
        raise RuntimeError("a damaged module passes the checks")
    return [problems[0] for problems in said]
