"""fusedops' own threads, which numpy and MLX calls use. Subprocesses, because the environment decides."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

PREAMBLE = """
import resource, time
import numpy as np
import fusedops
x = np.random.default_rng(0).standard_normal((256, 4096), dtype=np.float32)
"""


def run_script(script: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "4"}
    command = [sys.executable, "-c", PREAMBLE + textwrap.dedent(script)]
    subprocess.run(command, check=True, timeout=120, env=environment)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and limits the address space")
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
