"""The folder of builds: who may write there, and what becomes of files that are not whole."""

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fusedops.sim import SimulatorError
from fusedops.sim.run import cache
from fusedops.sim.run.cache import cache_directory, cached

KERNEL = """#include <metal_stdlib>
using namespace metal;
kernel void k(device float* x [[buffer(0)]]) { x[0] = 123; }
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that is not there yet."""
    monkeypatch.setattr(cache, "_unusable", set())
    monkeypatch.setenv("FUSEDOPS_SIM_CACHE", str(tmp_path / "above" / "cache"))
    return tmp_path / "above" / "cache"


def make(path: Path) -> None:
    path.write_text("content")


def not_again(path: Path) -> None:
    raise AssertionError(f"{path} is made again")


def test_a_file_is_made_once(folder: Path) -> None:
    made = []

    def make_slowly(path: Path) -> None:
        made.append(path)
        time.sleep(0.05)
        make(path)

    with ThreadPoolExecutor(8) as pool:
        files = set(pool.map(lambda _: cached("key", ".txt", make_slowly), range(16)))
    assert len(made) == 1
    assert [file.read_text() for file in files] == ["content"]
    assert cached("key", ".txt", not_again) in files


def test_what_fails_is_not_kept(folder: Path) -> None:
    def fail(path: Path) -> None:
        path.write_text("half of it")
        raise SimulatorError("no")

    with pytest.raises(SimulatorError):
        cached("key", ".txt", fail)
    assert cached("key", ".txt", make).read_text() == "content"


def test_several_processes_at_once(folder: Path, tmp_path: Path) -> None:
    program = f"""
import time
from pathlib import Path
from fusedops.sim.run.cache import cached
def make(path):
    with open({str(tmp_path / "made")!r}, "a") as made:
        made.write("once")
    time.sleep(0.3)
    path.write_text("content")
print(cached("key", ".txt", make).read_text())
"""
    command = [sys.executable, "-c", program]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0] for process in processes] == ["content\n"] * 3
    assert (tmp_path / "made").read_text() == "once"


@pytest.mark.parametrize("content", [b"", b"cont", b"x" * 4096, b"Content"], ids=["empty", "short", "long", "other"])
def test_a_file_that_is_not_whole_is_made_again(folder: Path, content: bytes) -> None:
    path = cached("key", ".txt", make)
    path.write_bytes(content)
    assert cached("key", ".txt", make) == path
    assert path.read_text() == "content"
    assert cached("key", ".txt", not_again) == path


def test_a_file_of_unknown_origin_is_made_again(folder: Path) -> None:
    path, other = (
        cached("key", ".txt", make),
        cached("other key", ".txt", lambda path: path.write_text("other") and None),
    )
    for checksum in (path.with_name(path.name + ".sha256"), other.with_name(other.name + ".sha256")):
        kept = checksum.read_bytes()
        checksum.write_bytes(b"\xff" if checksum.name.startswith(path.name) else b"")
        assert cached("key", ".txt", make).read_text() == "content"
        checksum.write_bytes(kept)
    other.replace(path)  # whole, with a checksum of its own, under another's name
    other.with_name(other.name + ".sha256").replace(path.with_name(path.name + ".sha256"))
    assert cached("key", ".txt", make).read_text() == "content"


def test_a_build_that_is_not_whole_is_built_again() -> None:
    """A library cut short would end the process that loads it, hence a process for each."""
    program = f"from fusedops.sim import build\nprint(build({KERNEL!r}).path)"

    def run() -> Path:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        return Path(done.stdout.strip())

    path = run()
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"x" * 4096):
        path.unlink()
        path.write_bytes(content)
        assert run() == path
        assert path.stat().st_size == len(whole)


def test_new_folders_are_private(folder: Path) -> None:
    path = cached("key", ".txt", make)
    assert path.parent == folder
    assert [directory.stat().st_mode & 0o777 for directory in (folder, folder.parent)] == [0o700, 0o700]


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o707, 0o1777, 0o720])
def test_a_folder_that_others_may_write_to_is_refused(folder: Path, mode: int) -> None:
    path = cached("key", ".txt", make)
    folder.chmod(mode)
    expected = rf"cache can be written by others \(mode {mode:04o}\): .*chmod 700.*FUSEDOPS_SIM_CACHE"
    for key in ("key", "another key"):
        with pytest.raises(SimulatorError, match=expected):
            cached(key, ".txt", not_again)
    folder.chmod(0o755)
    assert cached("key", ".txt", not_again) == path


def test_a_folder_where_others_may_put_another_in_its_place_is_refused(folder: Path) -> None:
    path = cached("key", ".txt", make)
    folder.parent.chmod(0o777)
    with pytest.raises(SimulatorError, match="above can be written by everybody"):
        cached("key", ".txt", not_again)
    folder.parent.chmod(0o1777)  # as /tmp is
    assert cached("key", ".txt", not_again) == path


def test_a_folder_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached("key", ".txt", make)
    user = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: user + 1)
    with pytest.raises(SimulatorError, match=f"belongs to user {user}, not to {user + 1}"):
        cached("key", ".txt", not_again)


def test_a_symbolic_link_is_what_it_points_to(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached("key", ".txt", make)
    link = tmp_path / "link"
    link.symlink_to(folder)
    monkeypatch.setenv("FUSEDOPS_SIM_CACHE", str(link))
    assert cached("key", ".txt", not_again).read_text() == "content"
    folder.chmod(0o777)
    with pytest.raises(SimulatorError, match="can be written by others"):
        cached("key", ".txt", not_again)


def test_a_file_in_the_folders_place_is_refused(folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("")
    with pytest.raises(SimulatorError, match="cache is no folder"):
        cached("key", ".txt", not_again)


def test_relative_folders(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True, mode=0o700)
    monkeypatch.chdir(folder)
    for name, expected in {".": folder, "..": folder / "..", "below": folder / "below"}.items():
        monkeypatch.setenv("FUSEDOPS_SIM_CACHE", name)
        assert cache_directory() == expected
    monkeypatch.setenv("FUSEDOPS_SIM_CACHE", ".")
    assert cached("key", ".txt", make).parent == folder  # a library's path without a folder is looked for elsewhere
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FUSEDOPS_SIM_CACHE", "~/mine")
    assert cache_directory() == tmp_path / "mine"


def test_unknown_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUSEDOPS_SIM_CACHE", "~nobody-of-this-name/cache")
    with pytest.raises(SimulatorError, match="FUSEDOPS_SIM_CACHE"):
        cache_directory()


def test_a_folder_that_cannot_be_made_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_unusable", set())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FUSEDOPS_SIM_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.warns(RuntimeWarning, match="file/cache: builds are not kept for other processes: .*Not a directory"):
        path = cached("key of this test", ".txt", make)
    assert path.read_text() == "content"
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert cached("key of this test", ".txt", not_again) == path  # and without another warning


def test_a_full_disk_stops_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copy

    def full(file: Path, to: str) -> str:
        if Path(to).is_relative_to(folder):
            raise OSError(28, "No space left on device")
        return copy(file, to)

    kept = cached("key", ".txt", make)
    monkeypatch.setattr(shutil, "copy", full)
    with pytest.warns(RuntimeWarning, match="No space left on device"):
        path = cached("a second key", ".txt", make)
    assert path.read_text() == "content" and path.parent != folder
    assert cached("a second key", ".txt", not_again) == path
    assert cached("key", ".txt", not_again) == kept
