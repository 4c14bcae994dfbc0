"""What callers rely on: threads, callbacks, the cache, forms of buffers."""

import ctypes
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from kernels import HEAD

from fusedops.sim import ORDERS, SimulatorError, build
from fusedops.sim.run import Library, Parameter, Source, build_many
from fusedops.sim.run.arguments import AtOffset

SCALE = f"""{HEAD}
kernel void scale(device float* x [[buffer(0)]], constant float& factor [[buffer(3)]],
                  threadgroup float* t [[threadgroup(1)]], uint i [[thread_position_in_grid]]) {{
  x[i] = simd_broadcast(x[i], ushort(i % 32)) * factor;
}}
kernel void copy(device const ushort* x [[buffer(0)]], device ushort* y [[buffer(1)]],
                 uint i [[thread_position_in_grid]]) {{
  y[i] = x[i];
}}
kernel void order(device atomic_uint* count [[buffer(0)]], device uint* x [[buffer(1)]],
                  uint i [[thread_position_in_grid]]) {{
  x[i] = atomic_fetch_add_explicit(count, 1u, memory_order_relaxed);
}}
"""


@pytest.fixture(scope="module")
def library() -> Library:
    return build(SCALE)


def scaled(library: Library, factor: float) -> Any:
    x = np.arange(64, dtype=np.float32)
    library.run(
        "scale",
        {0: x, 3: np.float32(factor)},
        threadgroups=(1,),
        threads_per_threadgroup=(64,),
        threadgroup_memory={1: 16},
    )
    return x


def test_describes_kernels(library: Library) -> None:
    assert library.kernels["scale"] == [
        Parameter("x", "buffer", 0, may_write=True),
        Parameter("factor", "buffer", 3),
        Parameter("t", "threadgroup", 1),
        Parameter("i", "thread_position_in_grid", 0),
    ]


def test_only_builds_what_is_wanted() -> None:
    assert set(build(SCALE, only="sc.*|copy").kernels) == {"scale", "copy"}


def test_forms_of_buffers(library: Library) -> None:
    values = np.arange(8).astype(ml_dtypes.bfloat16)
    every_other = np.zeros((8, 2), np.uint16)[:, 0]  # not contiguous
    library.run("copy", [values, every_other], threads=(8,), threads_per_threadgroup=(8,))
    np.testing.assert_array_equal(every_other, values.view(np.uint16))

    out = np.zeros(8, ml_dtypes.bfloat16)
    library.run("copy", [values.tobytes(), out], threads=(8,), threads_per_threadgroup=(8,))
    np.testing.assert_array_equal(out, values)

    read_only = values.copy()
    read_only.flags.writeable = False
    library.run("copy", {0: read_only, 1: out, 2: None}, threads=(8,), threads_per_threadgroup=(8,))

    with pytest.raises(SimulatorError, match="data race on buffer"):  # the same memory is one buffer
        build(SCALE, check=True).run("copy", [values[:8], values[:8]], threads=(8, 2), threads_per_threadgroup=(8, 1))


def test_buffer_at_an_offset() -> None:
    library = build(SCALE, check=True)
    x, y = np.arange(8, dtype=np.uint16), np.zeros(8, np.uint16)
    library.run("copy", [AtOffset(x, 6), AtOffset(y, 2)], threads=(5,), threads_per_threadgroup=(5,))
    assert y.tolist() == [0, 3, 4, 5, 6, 7, 0, 0]
    with pytest.raises(SimulatorError, match=r"byte offset 16 of buffer\(0\), which has 16 bytes"):
        library.run("copy", [AtOffset(x, 8), y], threads=(5,), threads_per_threadgroup=(5,))


def test_wrong_arguments(library: Library) -> None:
    with pytest.raises(ValueError, match="either threadgroups or threads"):
        library.run("copy", [])
    with pytest.raises(ValueError, match="order: expected one of forward, reverse, random, got 'odd'"):
        library.run("copy", [], threadgroups=(1,), order="odd")


def test_orders(library: Library) -> None:
    def ranks(order: str, seed: int = 0) -> list[int]:
        x = np.zeros(256, np.uint32)
        library.run(
            "order",
            [np.zeros(1, np.uint32), x],
            threadgroups=(4,),
            threads_per_threadgroup=(64,),
            order=order,
            seed=seed,
        )
        return x.tolist()  # type: ignore[no-any-return]

    assert ranks("forward") == list(range(256))
    assert ranks("reverse") == list(range(256))[::-1]
    assert ranks("random", 1) == ranks("random", 1) != ranks("random", 2)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 256, 1000])
def test_every_order_takes_every_threadgroup_once(library: Library, count: int) -> None:
    for order in ORDERS:
        x = np.full(count, 99999, np.uint32)
        library.run("order", [np.zeros(1, np.uint32), x], threadgroups=(count,), order=order, seed=count)
        assert sorted(x.tolist()) == list(range(count))
        if order == "random" and count == 1000:  # it is not nearly another order, either
            steps = np.abs(np.diff(np.argsort(x).astype(np.int64)))
            assert np.unique(steps).size > 300 and 200 < steps.mean() < 500


def test_warnings_are_errors_unless_told_otherwise() -> None:
    text = f"""{HEAD}kernel void f(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {{
      if (i == 3) return;
      x[i] = simd_sum(1.0f);
    }}"""
    x = np.zeros(32, np.float32)
    launch: dict[str, Any] = {"threadgroups": (1,), "threads_per_threadgroup": (32,)}
    with pytest.raises(SimulatorError, match="warning: SIMD-group operation after lanes 00000008 returned"):
        build(text).run("f", [x], **launch)
    assert build(text).run("f", [x], **launch, strict=False).startswith("warning: SIMD-group operation")
    assert build(text).run("f", [x], **launch, allow="after lanes 0+8 returned") == ""
    assert x.tolist() == [31, 31, 31, 0] + [31] * 28


def test_from_several_threads(library: Library) -> None:
    other = build(SCALE, check=True)

    def work(factor: int) -> bool:
        run = scaled(library if factor % 2 else other, factor)
        return bool((run == factor * np.arange(64)).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(32)))


def test_time_limit_in_a_thread_of_its_own() -> None:
    text = f"{HEAD}kernel void f(device volatile uint* x [[buffer(0)]]) {{ while (x[0] == 0) {{}} }}"
    found = []

    def work() -> None:
        with pytest.raises(SimulatorError, match="time limit"):
            build(text).run("f", [np.zeros(1, np.uint32)], threadgroups=(1,), time_limit=0.2)
        found.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found


def test_from_a_foreign_thread_through_a_callback(library: Library) -> None:
    c = ctypes.CDLL(None)
    results = []

    @ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)
    def callback(_: Any) -> None:
        results.append(scaled(library, 2))

    thread = ctypes.c_ulong()
    c.pthread_join.argtypes = [ctypes.c_ulong, ctypes.c_void_p]
    assert c.pthread_create(ctypes.byref(thread), None, callback, None) == 0
    release: Callable[..., Any] = c.pthread_join
    assert release(thread, None) == 0
    np.testing.assert_array_equal(results[0], 2 * np.arange(64))


def test_faults_outside_of_kernels_are_not_taken(library: Library) -> None:
    """After a launch that faulted, a segmentation fault of the process itself still ends it."""
    program = (
        "import ctypes, numpy as np\n"
        "from fusedops.sim import SimulatorError, build\n"
        f"library = build({SCALE!r})\n"
        "try:\n    library.run('copy', [np.zeros(1, np.uint16)] * 2, threads=(1 << 20,))\n"
        "except SimulatorError as error:\n    print(error)\n"
        "ctypes.string_at(8)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "byte offset" in result.stdout
    assert result.returncode < 0


def test_build_many() -> None:
    texts = [f"{HEAD}kernel void f{i}(device float* x [[buffer(0)]]) {{ x[0] = {i}; }}" for i in range(3)]
    for i, library in enumerate(build_many([Source(text) for text in texts])):
        x = np.zeros(1, np.float32)
        library.run(f"f{i}", [x], threadgroups=(1,))
        assert x[0] == i


def test_unsupported_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(SimulatorError, match="runs on x86-64 and arm64, Linux and macOS, not on riscv64"):
        build(SCALE)
