"""Ctrl-C ends a launch, and memory that is not there is said; each in a process of its own."""

import subprocess
import sys

import pytest
from kernels import HEAD

PROGRAM = f"""
import os, resource, signal, sys, threading
import numpy as np
from fusedops.sim import SimulatorError, build

def library(body, **options):
    parameters = "device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]"
    return build({HEAD!r} + f"kernel void k({{parameters}}) {{{{ {{body}} }}}}", **options)

def interrupt():
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()

def interrupted(library, **launch):
    interrupt()
    try:
        library.run("k", [np.zeros(64, np.float32)], allow="race", **launch)
    except KeyboardInterrupt:
        print("ended")

sound, endless = "x[i] = i;", "while (true) x[0] += 1;"
"""


def output_of(program: str) -> str:
    """What the program prints. It must end by itself; the limit is for one that does not."""
    command = [sys.executable, "-c", PROGRAM + program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("observer", ["", "check=True", "count=True"])
def test_ctrl_c_ends_a_launch(observer: str) -> None:
    bodies = [
        "while (true) x[0] += 1;",
        "uint n = 1; while (n) n += 2; x[0] = n;",  # touches no memory
        "while (simd_any(x[0] >= 0)) {}",
        "while (true) threadgroup_barrier(mem_flags::mem_device);",
    ]
    program = f"""
for body in {bodies}:
    interrupted(library(body, {observer}), threads=(64,), threads_per_threadgroup=(64,))
x = np.zeros(64, np.float32)
library(sound, {observer}).run("k", [x], threads=(64,))
print(x.sum())
"""
    assert output_of(program).split() == ["ended"] * 4 + ["2016.0"]


@pytest.mark.parametrize("order", ["forward", "random"])
def test_ctrl_c_ends_a_large_grid_of_short_threads(order: str) -> None:
    program = f"interrupted(library('if (i < 4) x[i] = i;'), threads=(2**32 - 1,), order={order!r})"
    assert output_of(program).split() == ["ended"]


def test_ctrl_c_ends_a_launch_of_another_thread() -> None:
    program = """
found, over = [], threading.Event()
kernels = library(endless)

def work():
    try:
        kernels.run("k", [np.zeros(64, np.float32)], threads=(1,))
    except SimulatorError as error:
        found.append(str(error))
    over.set()

threading.Thread(target=work).start()
interrupt()
try:
    over.wait()
except KeyboardInterrupt:
    print("main thread")
over.wait()
print(*found)
"""
    assert output_of(program).startswith("main thread\nerror: interrupted")


def test_an_interrupt_that_the_host_ignores_or_handles() -> None:
    program = """
def run():
    interrupt()
    try:
        library(endless).run("k", [np.zeros(64, np.float32)], threads=(1,), time_limit=2)
    except SimulatorError as error:
        print(str(error).split(" in ")[0])

signal.signal(signal.SIGINT, signal.SIG_IGN)
run()
signal.signal(signal.SIGINT, lambda *_: print("handled"))
run()
os.kill(os.getpid(), signal.SIGINT)  # the host's handler is in its place again
"""
    assert output_of(program).splitlines() == ["error: time limit", "handled", "error: interrupted", "handled"]


def test_the_shell_command_ends_with_ctrl_c() -> None:
    program = """
import runpy, tempfile
with tempfile.NamedTemporaryFile("w", suffix=".metal") as file:
    file.write("kernel void k(device float* x [[buffer(0)]]) { while (true) x[0] += 1; }")
    file.flush()
    sys.argv = ["sim", "run", file.name, "k", "--threads", "1", "--buffer", "float:4", "--time-limit", "0", "--fast"]
    interrupt()
    try:
        runpy.run_module("fusedops.sim", run_name="__main__")
    except SystemExit as end:
        print(end.code)
"""
    assert output_of(program).split() == ["130"]


LIMITED = """
def limit(megabytes):
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (megabytes << 20), resource.RLIM_INFINITY))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
def test_a_large_grid_takes_no_memory(order: str) -> None:
    program = f"""{LIMITED}
kernels = library("if (i < 4) x[i] = i;")
limit(256)
try:
    kernels.run("k", [np.zeros(4, np.float32)], threadgroups=(1 << 30,), time_limit=1, order={order!r})
except SimulatorError as error:
    print(error)
"""
    assert output_of(program).startswith("error: time limit")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("observer", ["", "check=True", "count=True"])
def test_no_memory_is_an_error(observer: str) -> None:
    """For any limit: the buffer's copy, what is noted of its bytes, the stacks."""
    program = f"""{LIMITED}
x, kernels = np.zeros(16 << 18, np.float32), library(sound, {observer})
for megabytes in (1, 10, 17, 30, 100, 20000):
    limit(megabytes)
    try:
        print(kernels.run("k", [x], threads=(64,)) or "ran")
    except (MemoryError, SimulatorError) as error:
        print(type(error).__name__)
"""
    *_, last = lines = output_of(program).splitlines()
    assert lines[0] == "MemoryError" and last == "ran", lines
