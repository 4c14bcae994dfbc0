"""Built files, kept between processes and made once for each key."""

import fcntl
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path


def cache_directory() -> Path:
    """FUSEDOPS_SIM_CACHE, else fusedops/sim in the user's cache directory."""
    if chosen := os.environ.get("FUSEDOPS_SIM_CACHE"):
        return Path(chosen)
    if sys.platform == "darwin":
        caches = Path.home() / "Library" / "Caches"
    else:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches / "fusedops" / "sim"


def cached(key: str, suffix: str, make: Callable[[Path], None]) -> Path:
    """The file that make(path) writes, from the cache if it was made for this key before.

    Of several processes and threads that want the same file at once one makes it and the others wait.
    """
    directory = cache_directory()
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / (hashlib.sha256(key.encode()).hexdigest()[:24] + suffix)
    if target.exists():
        return target
    with open(target.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=directory) as scratch:
                made = Path(scratch) / target.name
                make(made)
                made.replace(target)
    return target


def text_of(directory: Path) -> str:
    """The names and contents of all files below a directory, as part of a key."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return "".join(f"{path.relative_to(directory)}\n{path.read_text()}" for path in files)
