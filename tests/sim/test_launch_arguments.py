"""What a launch is given: numbers beyond the limits, and buffers that no kernel could write to, are refused by name."""

import re
from typing import Any

import numpy as np
import pytest
from kernels import HEAD

from fusedops.sim import AtOffset, Library, build
from fusedops.sim.run.arguments import InPlace, grid, indexed, seconds, threadgroup_lengths

TEXT = f"""{HEAD}
kernel void number(device uint* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {{ if (i < 4) x[i] = i + 1; }}
kernel void add(device const float* x [[buffer(0)]], constant float& a [[buffer(1)]], device float* y [[buffer(2)]],
                uint i [[thread_position_in_grid]]) {{
  y[i] = x[i] + a;
}}
kernel void count(device atomic_uint& counter [[buffer(3)]], threadgroup float* t [[threadgroup(2)]]) {{
  atomic_fetch_add_explicit(&counter, 1u, memory_order_relaxed);
}}
template <typename T> kernel void fill(T x [[buffer(0)]]) {{ x[0] = 1; }}
template <typename T> kernel void read(T x [[buffer(0)]], device int* y [[buffer(1)]]) {{ y[0] = x[0]; }}
template [[host_name("fill")]] kernel void fill<device int*>(device int*);
template [[host_name("read")]] kernel void read<device const int*>(device const int*, device int*);
"""


@pytest.fixture(scope="module")
def library() -> Library:
    return build(TEXT)


# launch: the message
WRONG_LAUNCHES: list[tuple[dict[str, Any], str]] = [
    ({"threads": (2**32 + 1,)}, "threads[0]: expected from 1 to 4294967295, got 4294967297"),
    ({"threads": (1, 2**32)}, "threads[1]: expected from 1 to 4294967295, got 4294967296"),
    ({"threads": (2**31, 2**31, 2**31)}, "threads: a grid of 2147483648x2147483648x2147483648 threads"),
    ({"threadgroups": (2**32 + 1,)}, "threadgroups[0]: expected from 1"),
    ({"threadgroups": (2**31,), "threads_per_threadgroup": (2,)}, "threadgroups: a grid of 4294967296x1x1 threads"),
    ({"threads": (0,)}, "threads[0]: expected from 1 to 4294967295, got 0"),
    ({"threads": (-1,)}, "threads[0]: expected from 1 to 4294967295, got -1"),
    ({"threads": (1.5,)}, "threads[0]: expected an integer, got 1.5"),
    ({"threads": (True,)}, "threads[0]: expected an integer, got True"),
    ({"threads": ("1",)}, "threads[0]: expected an integer, got '1'"),
    ({"threads": (np.float32(2),)}, "threads[0]: expected an integer"),
    ({"threads": 4}, "threads: expected one to three extents, got 4"),
    ({"threads": "444"}, "threads: expected one to three extents, got '444'"),
    ({"threads": ()}, "threads: expected one to three extents, got 0"),
    ({"threads": (1, 1, 1, 1)}, "threads: expected one to three extents, got 4"),
    ({"threads": (1,), "threadgroups": (1,)}, "expected either threadgroups or threads"),
    ({}, "expected either threadgroups or threads"),
    ({"threads": (4,), "threads_per_threadgroup": (2**32 + 1,)}, "threads_per_threadgroup[0]: expected from 1"),
    ({"threads": (4,), "threads_per_threadgroup": (0,)}, "threads_per_threadgroup[0]: expected from 1"),
    ({"threads": (4,), "threads_per_threadgroup": (2**22, 2**21, 2**21)}, "the limit is 1024"),
    ({"threads": (4,), "threadgroup_memory": {-1: 16}}, "threadgroup_memory: an index: expected from 0 to 30, got -1"),
    ({"threads": (4,), "threadgroup_memory": {31: 16}}, "threadgroup_memory: an index: expected from 0 to 30, got 31"),
    ({"threads": (4,), "threadgroup_memory": {0: 2**32 + 16}}, "threadgroup_memory[0]: expected from 1"),
    ({"threads": (4,), "threadgroup_memory": {0: 16.0}}, "threadgroup_memory[0]: expected an integer, got 16.0"),
    ({"threads": (4,), "threadgroup_memory": {True: 16}}, "threadgroup_memory: an index: expected an integer"),
    ({"threads": (4,), "time_limit": -1}, "time_limit: expected from 0"),
    ({"threads": (4,), "time_limit": float("nan")}, "time_limit: expected from 0"),
    ({"threads": (4,), "time_limit": float("inf")}, "time_limit: expected from 0"),
    ({"threads": (4,), "time_limit": "1"}, "time_limit: expected seconds, got '1'"),
    ({"threads": (4,), "time_limit": True}, "time_limit: expected seconds, got True"),
    ({"threads": (4,), "seed": -1}, "seed: expected from 0"),
    ({"threads": (4,), "seed": 2**64}, "seed: expected from 0"),
    ({"threads": (4,), "seed": 0.5}, "seed: expected an integer, got 0.5"),
    ({"threads": (4,), "constants": {"a": 1}}, "there is no function constant 'a'"),
]


@pytest.mark.parametrize(("launch", "message"), WRONG_LAUNCHES, ids=[str(launch) for launch, _ in WRONG_LAUNCHES])
def test_wrong_launch(library: Library, launch: dict[str, Any], message: str) -> None:
    x = np.zeros(4, np.uint32)
    with pytest.raises(Exception, match=re.escape(message)):
        library.run("number", [x], **launch)
    assert not x.any()


def test_integers_of_numpy(library: Library) -> None:
    x = np.zeros(4, np.uint32)
    library.run(
        "number",
        {np.int64(0): x},
        threads=np.array([3]),  # type: ignore[arg-type]
        threads_per_threadgroup=[np.uint8(2)],
        threadgroup_memory={np.int8(0): np.uint16(16)},
        time_limit=np.float32(5),  # type: ignore[arg-type]
        seed=np.uint64(2**64 - 1),
    )
    assert x.tolist() == [1, 2, 3, 0]


def test_what_the_runners_share() -> None:
    assert grid((2, 3), None, (4,)) == ((8, 3, 1), (4, 1, 1))
    assert grid(None, (2**32 - 1,), (1024,))[0] == (2**32 - 1, 1, 1)
    assert threadgroup_lengths({30: 1}) == {30: 1}
    assert seconds("time_limit", 0) == 0


def frozen(x: np.ndarray) -> np.ndarray:
    x.flags.writeable = False
    return x


X, Y = np.ones(4, np.float32), np.zeros(8, np.float32)
WRONG_BUFFERS: dict[str, tuple[str, Any, str]] = {
    "read-only": ("add", {0: X, 1: X[:1], 2: frozen(np.zeros(4, np.float32))}, "buffer(2) 'y': .* is read-only"),
    "read-only at an offset": ("fill", [AtOffset(frozen(np.zeros(4)), 8)], "buffer(0) 'x': .* is read-only"),
    "read-only reference": ("count", {3: frozen(np.zeros(1, np.uint32))}, "buffer(3) 'counter': .* is read-only"),
    "repeated": ("fill", [np.lib.stride_tricks.as_strided(np.zeros(1), (4,), (0,))], "buffer(0) .* overlaps itself"),
    "windows": ("fill", [np.lib.stride_tricks.as_strided(np.zeros(4), (3, 2), (8, 8))], "buffer(0) .* overlaps itself"),
    "overlap": ("add", {0: Y[:5], 1: X[:1], 2: Y[3:]}, "buffers: an array .* overlaps another one"),
    "overlap of views": ("add", {0: Y[::2], 1: X[:1], 2: Y[::-1]}, "buffers: an array .* overlaps another one"),
    "list": ("fill", [[0, 0]], "buffer(0): expected a numpy array, .* got list"),
    "str": ("fill", ["ab"], "buffer(0): expected a numpy array, .* got str"),
    "number": ("fill", [1], "buffer(0): expected a numpy array, .* got int"),
    "memoryview": ("fill", [memoryview(b"abcd")], "buffer(0): expected a numpy array, .* got memoryview"),
    "masked": ("fill", [np.ma.zeros(4)], "buffer(0): expected a numpy array, .* got MaskedArray"),
    "array in place of a list": ("fill", np.zeros((2, 4)), "buffers: expected a sequence or a mapping .* got ndarray"),
    "str in place of a list": ("fill", "ab", "buffers: expected a sequence or a mapping .* got str"),
    "objects": ("fill", [np.array([None])], "buffer(0): expected numbers, got dtype object"),
    "strings": ("fill", [np.array(["abcd"])], "buffer(0): expected numbers, got dtype <U4"),
    "byte order": ("fill", [np.zeros(4, ">i4")], "buffer(0): expected this machine's order of bytes, got dtype >i4"),
    "index": ("fill", {31: X}, "buffers: an index: expected from 0 to 30, got 31"),
    "index that is a float": ("fill", {0.0: X}, "buffers: an index: expected an integer, got 0.0"),
    "offset": ("fill", [AtOffset(X, 17)], "buffer(0): the byte offset: expected from 0 to 16, got 17"),
    "offset that is negative": ("fill", [AtOffset(X, -4)], "buffer(0): the byte offset: expected from 0 to 16, got -4"),
    "offset that is a float": ("fill", [AtOffset(X, 4.0)], "buffer(0): the byte offset: expected an integer"),
    "offset of nothing": ("fill", [AtOffset(None, 0)], "buffer(0): expected a numpy array, .* got NoneType"),
    "address": ("fill", [InPlace(0)], "buffer(0): the address: expected from 1"),
}


@pytest.mark.parametrize("name", WRONG_BUFFERS)
def test_wrong_buffers(library: Library, name: str) -> None:
    kernel, buffers, message = WRONG_BUFFERS[name]
    with pytest.raises((TypeError, ValueError), match=re.escape(message).replace(r"\.\*", ".*")):
        library.run(kernel, buffers, threads=(1,), threadgroup_memory={2: 16})


def test_read_only_arrays_for_what_is_only_read(library: Library) -> None:
    x, y = frozen(np.arange(4, dtype=np.float32)), np.zeros(4, np.float32)
    library.run("add", [x, frozen(np.array([2], np.float32)), y], threads=(4,))
    assert y.tolist() == [2, 3, 4, 5]
    repeated, out = np.broadcast_to(np.int32(7), (4,)), np.zeros(1, np.int32)
    library.run("read", [repeated, out], threads=(1,))
    assert out[0] == 7


@pytest.mark.parametrize(
    "y",
    [
        np.zeros((4, 3), np.float32)[:, 1],
        np.zeros((2, 2), np.float32, order="F"),
        np.zeros(4, np.float32)[::-1],
        np.zeros((4, 1, 1), np.float32).transpose(2, 0, 1),
        np.zeros((2, 2), np.float32).view(np.matrix),
        np.zeros(17, np.uint8)[1:].view(np.float32),
        np.zeros((), np.dtype([("a", np.float32, 4)])),
    ],
    ids=["column", "Fortran's order", "backwards", "transposed", "matrix", "not aligned", "struct"],
)
def test_layouts_that_are_written_to(library: Library, y: np.ndarray) -> None:
    library.run("add", [np.arange(4, dtype=np.float32), np.float32(1), y], threads=(4,))
    values = y["a"] if y.dtype.names else np.asarray(y)
    assert values.ravel().tolist() == [1, 2, 3, 4]


def test_interleaved_arrays_do_not_overlap(library: Library) -> None:
    both = np.arange(8, dtype=np.float32)
    library.run("add", [both[::2], np.float32(1), both[1::2]], threads=(4,))
    assert both.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    library.run("add", [both[::2], np.float32(5), both[1::2]], threads=(4,))
    assert both.tolist() == [0, 5, 2, 7, 4, 9, 6, 11]


def test_the_same_memory_is_written_to_by_whatever_name(library: Library) -> None:
    y = np.arange(4, dtype=np.float32)
    library.run("add", [frozen(y[:]), np.float32(1), y], threads=(4,))
    assert y.tolist() == [1, 2, 3, 4]


def test_empty_arrays(library: Library) -> None:
    empty = np.zeros(0, np.float32)
    library.run("number", [np.zeros(4, np.uint32), empty], threads=(1,))
    assert [index for index, _, _ in indexed([empty, None, AtOffset(empty, 0)])] == [0, 2]
