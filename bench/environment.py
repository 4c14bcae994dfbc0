"""Where the numbers come from."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterable
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bench.framework import Framework
from fusedops import _core


def environment(frameworks: Iterable[Framework]) -> dict[str, Any]:
    """CPU, the GPUs by device, software versions (None: not installed) and the time in UTC."""
    return {
        "cpu": cpu_name(),
        "instruction_set": _core.instruction_set(),
        "threads": _core.threads(),
        "gpu": {framework.device: framework.device_name() for framework in frameworks if not framework.on_cpu},
        "os": platform.platform(),
        "python": platform.python_version(),
        **{package: version_of(package) for package in ("fusedops", "torch", "mlx", "numpy")},
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if platform.system() == "Darwin":
        return subprocess.check_output(["sysctl", "-n", "machdep.cpu.brand_string"], text=True).strip()
    return platform.processor() or platform.machine()


def version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
