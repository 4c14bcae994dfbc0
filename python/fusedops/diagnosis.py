"""What this machine has, and what of it fusedops can use."""

from __future__ import annotations

import importlib.util
import platform
import subprocess
from dataclasses import dataclass, field
from importlib import metadata

import fusedops
from fusedops import _build_config, _core


@dataclass
class Diagnosis:
    """What doctor() found; its str() is the report to send with a bug.

    Attributes:
        facts: What there is, by name.
        problems: What keeps fusedops from being used in full, each with what to do about it.
    """

    facts: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Return the report."""
        width = max(map(len, self.facts))
        lines = [f"{name:<{width}}  {fact}" for name, fact in self.facts.items()]
        lines += [f"problem: {problem}" for problem in self.problems] or ["no problems found"]
        return "\n".join(lines)


def doctor() -> Diagnosis:
    """Return what this machine has and what keeps fusedops from using it. print(fusedops.doctor()) shows it.

    Imports torch and mlx where they are installed. Runs no operator: that is fusedops.selftest().
    """
    diagnosis = Diagnosis()
    _machine(diagnosis)
    _fusedops(diagnosis)
    _torch(diagnosis)
    _mlx(diagnosis)
    return diagnosis


def _machine(diagnosis: Diagnosis) -> None:
    diagnosis.facts["system"] = platform.platform()
    diagnosis.facts["python"] = platform.python_version()
    if platform.system() == "Darwin":
        chip = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False)
        diagnosis.facts["chip"] = chip.stdout.strip()
    diagnosis.facts["CPU kernels"] = f"{_core.instruction_set()}, {_core.threads()} threads"


def _fusedops(diagnosis: Diagnosis) -> None:
    built_for = f"mlx {_build_config.MLX_VERSION or '(without)'}, nanobind {_build_config.NANOBIND_VERSION}"
    diagnosis.facts["fusedops"] = f"{fusedops.__version__}, built for {built_for}"
    diagnosis.facts["numpy"] = metadata.version("numpy")


def _installed(diagnosis: Diagnosis, package: str) -> bool:
    found = importlib.util.find_spec(package) is not None
    diagnosis.facts[package] = metadata.version(package) if found else "not installed"
    return found


def _torch(diagnosis: Diagnosis) -> None:
    if not _installed(diagnosis, "torch"):
        return
    try:
        import torch

        from fusedops.backends import torch as backend
    except ImportError as error:
        diagnosis.problems.append(f"torch: {error}")
        return
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices.append("cuda")
    if torch.backends.mps.is_available():
        devices.append("mps")
    for device in devices:
        path, reason = backend.execution(torch.empty(0, device=device))
        diagnosis.facts[f"torch on {device}"] = f"{path}: {reason}"


def _mlx(diagnosis: Diagnosis) -> None:
    if not _installed(diagnosis, "mlx"):
        return
    try:
        import mlx.core as mx

        from fusedops.backends import mlx as backend
    except ImportError as error:
        diagnosis.problems.append(f"mlx: {error}")
        return
    devices = [mx.cpu, mx.gpu] if mx.is_available(mx.gpu) else [mx.cpu]
    for device in devices:
        with mx.stream(device):
            path, reason = backend.execution(mx.array(0.0))
        diagnosis.facts[f"mlx on {device.name}"] = f"{path}: {reason}"
    if mx.metal.is_available():
        diagnosis.facts["GPU"] = ", ".join(f"{name} {value}" for name, value in mx.device_info().items())
