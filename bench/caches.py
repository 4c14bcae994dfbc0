"""The CPU's data caches, as the operating system tells them."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from pathlib import Path

SYSFS = Path("/sys/devices/system/cpu/cpu0/cache")


@dataclass(frozen=True)
class Cache:
    """One level: its bytes, and how many of the CPUs share each."""

    level: int
    size: int
    shared_by: int


def caches() -> list[Cache]:
    """Those that hold data, the nearest first; none where the system does not tell."""
    if platform.system() == "Darwin":
        return _from_sysctl()
    found = [_from_sysfs(folder) for folder in sorted(SYSFS.glob("index*")) if _read(folder, "type") != "Instruction"]
    return sorted(found, key=lambda cache: cache.level)


def _from_sysfs(folder: Path) -> Cache:
    size = int(_read(folder, "size").removesuffix("K")) * 1024
    return Cache(int(_read(folder, "level")), size, _count(_read(folder, "shared_cpu_list")))


def _read(folder: Path, name: str) -> str:
    return (folder / name).read_text().strip()


def _count(cpus: str) -> int:
    """How many CPUs a list like "0-3,8" names."""
    ranges = [tuple(map(int, part.split("-"))) for part in cpus.split(",")]
    return sum(part[-1] - part[0] + 1 for part in ranges)


def _from_sysctl() -> list[Cache]:
    """Of the performance cores."""
    private = int(_sysctl("hw.perflevel0.l1dcachesize"))
    shared, by = int(_sysctl("hw.perflevel0.l2cachesize")), int(_sysctl("hw.perflevel0.cpusperl2"))
    return [Cache(1, private, 1), Cache(2, shared, by)]


def _sysctl(name: str) -> str:
    return subprocess.check_output(["sysctl", "-n", name], text=True).strip()


def working_set(cache: Cache, threads: int) -> int:
    """Bytes that `threads` threads together hold in such caches, with as much to spare for whatever else runs."""
    return cache.size * max(1, min(threads, os.cpu_count() or 1) // cache.shared_by) // 2
