"""What must not end, abort or hang the process: each in a child process, which has to end well."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

PREAMBLE = """
import importlib, os, resource, signal, sys, threading, time
import numpy as np
import fusedops
from contextlib import contextmanager

x = np.random.default_rng(0).standard_normal((300, 1000), dtype=np.float32)
framework = os.environ["FRAMEWORK"]
if framework == "torch":
    import torch
    torch.set_num_threads(4)
    array = torch.from_numpy
elif framework == "mlx":
    import mlx.core as mx
    mx.set_default_device(mx.cpu)
    array = mx.array
else:
    array = lambda values: values

def result(value):
    return value.detach().numpy() if framework == "torch" else np.array(value)

@contextmanager
def memory_left(size):
    '''Let the process have so many bytes more.'''
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + size, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

@contextmanager
def signalled(after):
    '''Send Ctrl-C after so many seconds; say in `waited` how long KeyboardInterrupt took from there.'''
    sent = []
    def send():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
    timer = threading.Timer(after, send)
    timer.start()
    try:
        yield
        raise SystemExit("the call was too short")
    except KeyboardInterrupt:
        global waited
        waited = time.monotonic() - sent[0]
    finally:
        timer.cancel()
"""

FRAMEWORKS = ("numpy", "torch", "mlx")
on_every_framework = pytest.mark.parametrize("framework", FRAMEWORKS)
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def run_script(script: str, framework: str = "numpy", *, seconds: float = 200, **environment: str) -> str:
    """Run it in a child process that must end with status 0; return what it printed, on both streams."""
    if framework != "numpy":
        pytest.importorskip({"mlx": "mlx.core"}.get(framework, framework))
    variables = os.environ | {"OMP_NUM_THREADS": "4", "FRAMEWORK": framework} | environment
    done = subprocess.run(
        [sys.executable, "-c", PREAMBLE + textwrap.dedent(script)],
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds,
        env=variables,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


# --- memory


@on_linux
@on_every_framework
@pytest.mark.parametrize(
    ("call", "left"),
    [
        # Every task gathers a row of 64 MB, for which there is room once at most.
        ("fusedops.rms_norm(columns)", 200),
        ("fusedops.gelu(columns)", 130),
        # Two of its threads' blocks of float32 sums take more than all that is there.
        ("fusedops.sdpa(wide, wide, wide)", 80),
    ],
)
def test_memory_that_tasks_lack(framework: str, call: str, left: int) -> None:
    """A task's error is the caller's; afterwards all is as before."""
    if "gelu" in call and framework != "numpy":
        pytest.skip("one is enough")
    run_script(
        f"""
        fusedops.gelu(x)  # starts the threads
        small = array(x)
        expected = result(fusedops.rms_norm(small))
        tall = array(np.ones((1 << 24, 2), np.float32))
        columns = tall.T
        wide = array(np.ones((1, 1, 16, 1 << 19), np.float32))
        if framework == "mlx":
            mx.eval(tall, columns, wide, fusedops.gelu(small))
        with memory_left({left} << 20):
            try:
                result({call})
                print("no error")
            except (MemoryError, RuntimeError) as error:
                print(type(error).__name__, error)
        for _ in range(3):
            assert (result(fusedops.rms_norm(small)) == expected).all()
        """,
        framework,
    )


@on_linux
def test_memory_that_a_task_lacks_is_a_memory_error() -> None:
    printed = run_script(
        """
        fusedops.gelu(x)
        columns = np.ones((1 << 24, 2), np.float32).T
        with memory_left(129 << 20):  # the output fits, no row does
            try:
                fusedops.rms_norm(columns)
            except MemoryError:
                print("a MemoryError")
        assert np.isfinite(fusedops.rms_norm(columns)).all()
        """
    )
    assert "a MemoryError" in printed


@on_every_framework
def test_outputs_that_do_not_fit(framework: str) -> None:
    printed = run_script(
        """
        huge = np.broadcast_to(np.float32(1), (1 << 20, 1 << 26))
        if framework == "torch":
            huge = torch.ones(1).expand(1 << 20, 1 << 26)
        if framework == "mlx":
            huge = mx.broadcast_to(mx.array(1.0), (1 << 20, 1 << 26))
        try:
            result(fusedops.gelu(huge))
        except (MemoryError, RuntimeError) as error:
            print("refused:", error)
        assert np.isfinite(result(fusedops.gelu(array(x)))).all()
        """,
        framework,
    )
    assert "refused:" in printed


# --- Ctrl-C


@pytest.mark.parametrize("framework", ["numpy", "torch"])
@pytest.mark.parametrize("threads", ["1", "4"])
def test_ctrl_c_ends_a_call(framework: str, threads: str) -> None:
    """Each of these would take minutes; the second is one task, the third many small ones."""
    run_script(
        f"""
        if framework == "torch":
            torch.set_num_threads({threads})
        many = array(np.ones((1, 16, 30000, 64), np.float32))
        rows = array(np.ones((1, 1, 60, 64), np.float32))
        keys = array(np.ones((1, 1, 4_000_000, 64), np.float32))
        packed = array(np.ones((60000, 8, 64), np.float32))
        offsets = array(np.array([0, 60000], np.int32))
        longest = {{"max_seqlen_q": 60000, "max_seqlen_k": 60000}}
        small = array(x)
        expected = result(fusedops.gelu(small))
        for call in (
            lambda: fusedops.sdpa(many, many, many),
            lambda: [fusedops.sdpa(rows, keys, keys, deterministic=True) for _ in range(1000)],
            lambda: fusedops.sdpa_varlen(packed, packed, packed, offsets, offsets, **longest),
            lambda: [fusedops.gelu(small) for _ in range(1000000)],
        ):
            with signalled(0.3):
                call()
            print(waited)
            assert (result(fusedops.gelu(small)) == expected).all()
        """,
        framework,
        OMP_NUM_THREADS=threads,
    )


def test_ctrl_c_ends_a_backward_pass() -> None:
    run_script(
        """
        rows = torch.ones(3000, 20000).requires_grad_()
        weight = torch.ones(20000).requires_grad_()
        with signalled(0.5):
            while True:
                fusedops.rms_norm(rows, weight).sum().backward()
        fusedops.rms_norm(rows, weight).sum().backward()
        """,
        "torch",
    )


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_a_signal_that_raises_nothing_ends_nothing(framework: str) -> None:
    """Its handler runs during the call, and may itself compute."""
    run_script(
        """
        q = array(np.ones((1, 4, 12000, 64), np.float32))
        small = array(x)
        fusedops.gelu(small)
        seen = []
        signal.signal(signal.SIGALRM, lambda *_: seen.append((time.monotonic(), fusedops.gelu(small))))
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        y = fusedops.sdpa(q, q, q)
        end = time.monotonic()
        assert result(y).min() == 1
        assert len(seen) == 1
        assert seen[0][0] < end
        assert (result(seen[0][1]) == result(fusedops.gelu(small))).all()
        """,
        framework,
    )


# --- imports


@on_every_framework
@pytest.mark.parametrize("how", ["reload", "import"])
def test_importing_again(framework: str, how: str) -> None:
    printed = run_script(
        f"""
        import gc, warnings
        warnings.simplefilter("error")
        small = array(x)
        first = fusedops
        expected = result(fusedops.gelu(small))
        for _ in range(3):
            names = [name for name in sys.modules if name.partition(".")[0] == "fusedops"]
            if {how!r} == "reload":
                for name in sorted(names, reverse=True):
                    importlib.reload(sys.modules[name])
            else:
                for name in names:
                    del sys.modules[name]
            fusedops = importlib.import_module("fusedops")
            gc.collect()
            for package in first, fusedops:
                assert (result(package.gelu(small)) == expected).all()
                try:
                    package.rms_norm(small, eps=-1.0)
                except ValueError as error:
                    assert "eps" in str(error)
            fusedops.explain("gelu", small)
            from fusedops.backends.plans import ArrayLayout
            fusedops.gelu(ArrayLayout("float32", (3, 4), (4, 1))).launches
        if framework == "torch":
            leaf = small.clone().requires_grad_()
            fusedops.rms_norm(leaf, leaf[0]).sum().backward()
            torch.func.vmap(fusedops.gelu)(small)
        """,
        framework,
    )
    assert printed == ""


@pytest.mark.parametrize("isolated", [False, True])
def test_subinterpreters_are_refused(isolated: bool) -> None:
    printed = run_script(
        f"""
        try:
            import _xxsubinterpreters as interpreters
        except ImportError:
            import _interpreters as interpreters
        expected = fusedops.gelu(x)
        try:
            other = interpreters.create(isolated={isolated})
        except TypeError:
            other = interpreters.create("isolated" if {isolated} else "legacy")
        for module in "fusedops._core", "fusedops":
            code = f"import sys; sys.path = {{sys.path!r}}\\nimport {{module}}"
            try:
                failure = getattr(interpreters, "run_string", interpreters.exec)(other, code) if False else (
                    interpreters.run_string(other, code) if hasattr(interpreters, "run_string")
                    else interpreters.exec(other, code)
                )
            except Exception as error:
                failure = error
            print(failure)
        interpreters.destroy(other)
        assert (fusedops.gelu(x) == expected).all()
        """
    )
    assert "interpreter" in printed
    assert "None" not in printed


# --- the end


def test_the_process_ends_while_daemon_threads_compute() -> None:
    """Not tried with torch and MLX, which take the GIL back themselves: torch's own operators abort then."""
    script = """
        q = np.ones((1, 4, 200, 64), np.float32)

        def work():
            while True:
                fusedops.sdpa(q, q, q), fusedops.gelu(x)

        for _ in range(4):
            threading.Thread(target=work, daemon=True).start()
        time.sleep(0.2)

        class Slow:
            def __del__(self):
                time.sleep(0.2)

        sys.slow = Slow()
        """
    for _ in range(5):
        run_script(script)


@on_every_framework
def test_calls_at_the_end(framework: str) -> None:
    """By functions that atexit calls, and by threads that outlive the main one."""
    printed = run_script(
        """
        import atexit
        small = array(x)
        def compute(name):
            time.sleep(0.1)
            print(name, np.isfinite(result(fusedops.gelu(small))).all())
        atexit.register(compute, "atexit")
        threading.Thread(target=compute, args=("thread",)).start()
        """,
        framework,
    )
    assert "thread True" in printed
    assert "atexit True" in printed


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_processes(method: str) -> None:
    run_script(
        f"""
        import multiprocessing
        fusedops.gelu(x)
        with multiprocessing.get_context({method!r}).Pool(2) as pool:
            for y in pool.map_async(fusedops.gelu, [x] * 3).get(100):
                assert (y == fusedops.gelu(x)).all()
        """
    )


# --- threads that do not start


def test_limits_without_threads() -> None:
    """Measuring takes as many threads as asked for: where there are not so many, that is an error."""
    run_script(
        """
        for count in 0, -1:
            for function in (
                lambda: fusedops._core.copy_bandwidth(1 << 20, count),
                lambda: fusedops._core.read_bandwidth(1 << 20, count),
                lambda: fusedops._core.arithmetic_rates(count),
            ):
                try:
                    function()
                    raise SystemExit("no error")
                except ValueError as error:
                    assert "threads must be at least 1" in str(error)
        if sys.platform == "linux":
            with memory_left(20 << 20):
                try:
                    fusedops._core.read_bandwidth(1 << 20, 64)
                except (RuntimeError, MemoryError) as error:
                    print(error)
        """
    )
