"""Who computes: fusedops' own threads (numpy, MLX) and torch's. Subprocesses, because the environment decides."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

PREAMBLE = """
import os, resource, threading, time
import numpy as np
import fusedops
x = np.random.default_rng(0).standard_normal((256, 4096), dtype=np.float32)

def tasks():
    '''CPU time of each of the process's threads, in ticks.'''
    times = {}
    for task in os.listdir("/proc/self/task"):
        with open(f"/proc/self/task/{task}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        times[int(task)] = int(fields[11]) + int(fields[12])
    return times

def busy_threads(work, seconds=0.5):
    '''How many other threads took a part of the work.'''
    before, end = tasks(), time.monotonic() + seconds
    while time.monotonic() < end:
        work()
    after = tasks()
    return sum(after[task] - before.get(task, 0) > 1 for task in after if task != threading.get_native_id())

def child_does(work):
    '''Whether a forked child ends with status 0, which it does within a minute or not at all.'''
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status == 0
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False

def at_once(*works):
    '''Calls each in a Python thread of its own.'''
    failures = []
    def guarded(work):
        try:
            work()
        except BaseException as failure:
            failures.append(failure)
    threads = [threading.Thread(target=guarded, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
"""

reads_proc = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def run_script(script: str, threads: str | None = "4") -> None:
    environment = os.environ | ({} if threads is None else {"OMP_NUM_THREADS": threads})
    if threads is None:
        environment.pop("OMP_NUM_THREADS", None)
    command = [sys.executable, "-c", PREAMBLE + textwrap.dedent(script)]
    subprocess.run(command, check=True, timeout=300, env=environment)


# --- how many


@pytest.mark.parametrize(
    ("value", "count"),
    [("3", 3), ("3,2", 3), (" 3 ", 3), ("3 , 2", 3)]
    + [(nonsense, None) for nonsense in ("", "0", "-2", "many", "3x", "1e3", ",3", "99999999999999999999", None)],
)
def test_environment_sets_the_number(value: str | None, count: int | None) -> None:
    cpus = "len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()"
    run_script(f"assert fusedops._core.threads() == ({count or cpus})", threads=value)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_affinity_sets_the_number() -> None:
    """Of the first caller, even where the package was loaded before."""
    run_script(
        """
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        assert fusedops._core.threads() == 1
        """,
        threads=None,
    )


@reads_proc
def test_small_problems_start_no_thread() -> None:
    run_script(
        """
        before = len(tasks())
        q = x[:2, :64].reshape(1, 2, 1, 64)
        fusedops.gelu(x[:4]), fusedops.rms_norm(x[:4]), fusedops.geglu(x[:4]), fusedops.sdpa(q, q, q)
        assert len(tasks()) == before
        fusedops.gelu(x)
        assert len(tasks()) == before + 3
        """
    )


@reads_proc
def test_work_goes_on_where_no_thread_starts() -> None:
    """A new thread's stack does not fit into the address space that is left."""
    run_script(
        """
        fusedops.gelu(x[:1])
        with open("/proc/self/statm") as statm:
            used = int(statm.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + x.nbytes + 2**21, resource.RLIM_INFINITY))
        y = fusedops.gelu(x)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert (y == fusedops.gelu(x)).all()
        """
    )


def test_idle_workers_sleep() -> None:
    run_script(
        """
        fusedops.gelu(x)
        before = time.process_time()
        time.sleep(0.5)
        assert time.process_time() - before < 0.05
        """
    )


@reads_proc
def test_torch_sets_the_number() -> None:
    pytest.importorskip("torch")
    run_script(
        """
        import torch
        t = torch.from_numpy(x)
        q = t.reshape(1, 8, 1024, 128)
        for call in lambda: fusedops.gelu(t), lambda: fusedops.rms_norm(t), lambda: fusedops.sdpa(q, q, q):
            for count in (1, 3, 2, 1):
                torch.set_num_threads(count)
                call()
                assert busy_threads(call) == count - 1
        """
    )


# --- results


@pytest.mark.parametrize("instruction_set", ["best", "baseline"])
def test_number_changes_no_result(instruction_set: str) -> None:
    pytest.importorskip("torch")
    chosen = "" if instruction_set == "best" else f"os.environ['FUSEDOPS_INSTRUCTION_SET'] = '{instruction_set}'"
    run_script(
        f"""
        {chosen}
        import torch
        torch.manual_seed(0)
        cases = [lambda t=torch.randn(200, 3000): fusedops.rms_norm(t)]
        for heads, kv_heads, queries, keys in [(8, 2, 1, 4096), (4, 1, 3, 2500), (2, 2, 600, 1700), (1, 1, 70, 3000)]:
            q = torch.randn(1, heads, queries, 32)
            k, v = torch.randn(2, 1, kv_heads, keys, 32)
            causal, window = {{"causal": True}}, {{"causal": True, "window": 300}}
            for options in {{}}, causal, window, {{**window, "deterministic": True}}, {{"window": (100, 37)}}:
                for dtype in torch.float32, torch.bfloat16:
                    inputs = [a.to(dtype) for a in (q, k, v)]
                    cases.append(lambda i=inputs, o=options: fusedops.sdpa(*i, return_lse=True, **o))
        offsets = torch.tensor([[0, 2, 2, 400, 401], [0, 2500, 2503, 3000, 7096]], dtype=torch.int32)
        q, k, v = torch.randn(401, 4, 32), *torch.randn(2, 7096, 2, 32)
        longest = {{"max_seqlen_q": 398, "max_seqlen_k": 4096}}
        cases.append(lambda: fusedops.sdpa_varlen(q, k, v, *offsets, **longest, causal=True, return_lse=True))
        for case in cases:
            torch.set_num_threads(1)
            expected = case()
            for count in (2, 3, 16):
                torch.set_num_threads(count)
                torch.testing.assert_close(case(), expected, rtol=0, atol=0, equal_nan=True)
        """
    )


# --- several callers


@reads_proc
def test_callers_share_the_workers() -> None:
    """However many call at once, each gets the right result, and one set of workers serves them all."""
    run_script(
        """
        operators = [
            fusedops.gelu,
            fusedops.rms_norm,
            fusedops.geglu,
            lambda a: fusedops.sdpa(*[a.reshape(1, 8, -1, 128)] * 3),
        ]
        alone = len(os.listdir("/proc/self/task"))
        expected = [operator(x) for operator in operators]
        most = []

        def check(operator, result):
            for _ in range(10):
                assert (operator(x) == result).all()
                most.append(len(os.listdir("/proc/self/task")))

        callers = [lambda c=case: check(*c) for case in zip(operators, expected)] * 2
        at_once(*callers)
        assert max(most) <= alone + 3 + len(callers)
        """
    )


@reads_proc
def test_streams_share_the_workers() -> None:
    """MLX's streams with one another, and with numpy calls."""
    pytest.importorskip("mlx.core")
    run_script(
        """
        import mlx.core as mx
        mx.set_default_device(mx.cpu)
        array = mx.array(x)
        mx.eval(array)
        streams = [mx.new_stream(mx.cpu) for _ in range(4)]
        for stream in streams:
            with mx.stream(stream):
                mx.eval(array + 1)
        before = len(os.listdir("/proc/self/task"))
        expected = fusedops.gelu(x)
        assert len(os.listdir("/proc/self/task")) == before + 3
        for _ in range(10):
            results = []
            for stream in streams:
                with mx.stream(stream):
                    results.append(fusedops.gelu(array))
            mx.async_eval(results)
            assert (fusedops.gelu(x) == expected).all()
            assert all((np.array(result) == expected).all() for result in results)
        assert len(os.listdir("/proc/self/task")) == before + 3
        """
    )


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_other_python_threads_go_on(framework: str) -> None:
    pytest.importorskip(framework)
    to_array = "import torch; array = torch.from_numpy" if framework == "torch" else "array = lambda a: a"
    run_script(
        f"""
        {to_array}
        q = array(np.zeros((1, 1, 8192, 128), dtype=np.float32))
        steps, done = 0, threading.Event()

        def count():
            global steps
            while not done.wait(0.001):
                steps += 1

        thread = threading.Thread(target=count)
        thread.start()
        before = steps
        fusedops.sdpa(q, q, q)
        during = steps - before
        done.set()
        thread.join()
        assert during > 10
        """,
        threads="1",
    )


# --- forks

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


@needs_fork
def test_forked_child_has_workers_of_its_own() -> None:
    run_script(
        """
        expected = fusedops.gelu(x)

        def work():
            assert (fusedops.gelu(x) == expected).all()
            assert len(os.listdir("/proc/self/task")) == 4 if os.path.exists("/proc/self/task") else True

        assert child_does(work)
        assert child_does(lambda: work() if child_does(work) else 1 / 0)
        """
    )


@needs_fork
def test_fork_while_the_workers_are_in_use() -> None:
    run_script(
        """
        expected = fusedops.gelu(x)
        done = threading.Event()

        def keep_busy():
            while not done.is_set():
                fusedops.gelu(x)

        def work():
            for _ in range(3):
                assert (fusedops.gelu(x) == expected).all()

        def fork():
            for _ in range(20):
                assert child_does(work)
            done.set()

        try:
            at_once(fork, keep_busy, keep_busy)
        finally:
            done.set()
        """
    )


@needs_fork
@pytest.mark.parametrize("first_used", ["by the parent", "by the child"])
def test_forked_child_of_torch(first_used: str) -> None:
    """Once torch's threads have run in the parent, torch's own operators hang in a child."""
    pytest.importorskip("torch")
    run_script(
        f"""
        import torch
        torch.set_num_threads(2)
        t = torch.from_numpy(x)
        torch.nn.functional.gelu(t)
        if {first_used == "by the parent"}:
            fusedops.gelu(t)
        assert child_does(lambda: fusedops.rms_norm(t))
        """
    )


@needs_fork
def test_data_loader_and_pool() -> None:
    pytest.importorskip("torch")
    run_script(
        """
        import multiprocessing
        import torch
        from torch.utils.data import DataLoader
        t = torch.from_numpy(x)
        expected = fusedops.gelu(t), fusedops.gelu(x)

        class Rows(torch.utils.data.Dataset):
            def __len__(self):
                return 4
            def __getitem__(self, index):
                return fusedops.gelu(t)

        for batch in DataLoader(Rows(), batch_size=2, num_workers=2, multiprocessing_context="fork", timeout=60):
            assert all(torch.equal(row, expected[0]) for row in batch)
        with multiprocessing.get_context("fork").Pool(2) as pool:
            for result in pool.map_async(fusedops.gelu, [x] * 4).get(60):
                assert (result == expected[1]).all()
        """
    )
