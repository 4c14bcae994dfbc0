"""Built files, kept between processes and made once for each key.

What is kept here is loaded into processes, so a folder that others may write to is refused, and a file that is not
whole is made again.
"""

import fcntl
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from ..errors import SimulatorError

_PRIVATE = 0o700
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH

_unusable: set[Path] = set()  # folders that this process could not write to


class _NotKept(Exception):
    """The cache's folder cannot be written to, for the reason given."""


def cache_directory() -> Path:
    """FUSEDOPS_SIM_CACHE, else fusedops/sim in the user's cache directory; always an absolute path.

    SimulatorError: there is no home directory to find it by.
    """
    try:
        if chosen := os.environ.get("FUSEDOPS_SIM_CACHE"):
            return Path(chosen).expanduser().absolute()
        if sys.platform == "darwin":
            caches = Path.home() / "Library" / "Caches"
        else:
            caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise SimulatorError(f"{error}: name a folder for builds in FUSEDOPS_SIM_CACHE") from None
    return (caches / "fusedops" / "sim").absolute()


def cached(key: str, suffix: str, make: Callable[[Path], None]) -> Path:
    """The file that make(path) writes, from the cache if it was made for this key before.

    Of several processes and threads that want the same file at once one makes it and the others wait. Where the cache's
    folder cannot be written to (it is read-only, or the disk is full) files are kept for this process only.

    SimulatorError: others may write to the cache's folder.
    """
    name = hashlib.sha256(key.encode()).hexdigest()[:24] + suffix
    folder = cache_directory()
    if os.path.exists(folder):  # which, unlike Path.exists, raises nothing
        _check_trust(folder)
        if _is_whole(folder / name):
            return folder / name
    if folder not in _unusable:
        try:
            return _made_once(folder, name, make)
        except _NotKept as error:
            _unusable.add(folder)
            warnings.warn(f"{folder}: builds are not kept for other processes: {error}", RuntimeWarning, stacklevel=2)
    return _made_once(_folder_of_this_process(), name, make)


def _check_trust(folder: Path) -> None:
    """SimulatorError: someone else may put files into a folder, or another folder in its place."""

    def refuse(what: str) -> SimulatorError:
        return SimulatorError(
            f"{what}: builds are loaded from {folder}, so nobody else may write there; make it private (chmod 700), or "
            "name a folder of your own in FUSEDOPS_SIM_CACHE"
        )

    path = folder.resolve()
    found = path.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise refuse(f"{path} is no folder")
    if found.st_uid != os.getuid():
        raise refuse(f"{path} belongs to user {found.st_uid}, not to {os.getuid()}")
    if found.st_mode & _WRITABLE_BY_OTHERS:
        raise refuse(f"{path} can be written by others (mode {stat.S_IMODE(found.st_mode):04o})")
    for parent in path.parents:
        mode = parent.stat().st_mode
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:  # with the sticky bit nobody renames what others own
            raise refuse(f"{parent} can be written by everybody (mode {stat.S_IMODE(mode):04o})")


def _made_once(folder: Path, name: str, make: Callable[[Path], None]) -> Path:
    target = folder / name
    with _locked(folder, name):
        if not _is_whole(target):
            with tempfile.TemporaryDirectory(prefix="fusedops-") as scratch:
                made = Path(scratch) / name
                make(made)
                _keep(made, target)
    return target


@contextmanager
def _locked(folder: Path, name: str) -> Iterator[None]:
    try:
        _make_private(folder)
        _check_trust(folder)
        lock = os.open((folder / name).with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _NotKept(error) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:  # a file system without locks
            raise _NotKept(error) from error
        yield
    finally:
        os.close(lock)


def _make_private(folder: Path) -> None:
    """Make a folder and those above it that are missing, such that only this user may use them."""
    if not os.path.exists(folder):
        _make_private(folder.parent)
        folder.mkdir(_PRIVATE, exist_ok=True)


def _checksum_file(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _checksum(path: Path) -> str:
    """Of a file's name and content: a file under another's name is not whole, either."""
    return hashlib.sha256(path.name.encode() + path.read_bytes()).hexdigest()


def _is_whole(path: Path) -> bool:
    """Whether the file is there as it was made: not cut short by a full disk or a crash, nor anyone else's."""
    try:
        return path.is_file() and _checksum_file(path).read_text() == _checksum(path)
    except (OSError, UnicodeDecodeError):
        return False


def _keep(made: Path, target: Path) -> None:
    """Put a file in its place at once, so that no one finds half of it; then its checksum likewise."""
    checksum = _checksum_file(made)
    checksum.write_text(_checksum(made))
    for file in (made, checksum):
        try:
            with tempfile.TemporaryDirectory(dir=target.parent) as staging:
                copy = shutil.copy(file, staging)
                os.replace(copy, target.with_name(file.name))
        except OSError as error:
            raise _NotKept(error) from error


@cache
def _folder_of_this_process() -> Path:
    """A private folder that is removed when the process ends."""
    folder = tempfile.TemporaryDirectory(prefix="fusedops-sim-")
    _folders.append(folder)
    return Path(folder.name).resolve()


_folders: list[tempfile.TemporaryDirectory[str]] = []  # removed with the interpreter


def text_of(directory: Path) -> str:
    """The names and contents of all files below a directory, as part of a key."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return "".join(f"{path.relative_to(directory)}\n{path.read_text()}" for path in files)
