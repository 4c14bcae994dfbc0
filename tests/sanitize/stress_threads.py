"""Many Python threads call operators on numpy arrays at once: for ThreadSanitizer, which sees the pool's races.

Every thread must get the results that it gets alone. Calls large enough to share the pool meet small ones, and calls
that fail because a signal's handler raises.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import fusedops

RANDOM = np.random.default_rng(0)
CALLERS = 8
ROUNDS = 15


def normal(*shape: int) -> np.ndarray[Any, Any]:
    return RANDOM.standard_normal(shape, np.float32)


def calls() -> dict[str, Callable[[], Any]]:
    rows, weight = normal(400, 1000), normal(1000)
    columns = np.asfortranarray(rows)  # each task gathers its rows
    many, few, keys = normal(1, 4, 300, 32), normal(1, 4, 1, 32), normal(1, 2, 4000, 32)
    offsets = np.array([0, 3, 3, 300], np.int32)
    packed = many[0].swapaxes(0, 1)
    return {
        "rms_norm": lambda: fusedops.rms_norm(columns, weight, residual=rows),
        "gelu": lambda: fusedops.gelu(rows, bias=weight),
        "geglu": lambda: fusedops.geglu(rows, columns),
        "a small gelu": lambda: fusedops.gelu(weight),
        "sdpa": lambda: fusedops.sdpa(many, keys, keys, causal=True),
        "decoding": lambda: fusedops.sdpa(few, keys, keys, return_lse=True),
        "sdpa_varlen": lambda: fusedops.sdpa_varlen(
            packed, packed, packed, offsets, offsets, max_seqlen_q=297, max_seqlen_k=297
        ),
    }


def same(result: Any, expected: Any) -> bool:
    both = zip(result, expected, strict=True) if isinstance(result, tuple) else [(result, expected)]
    return all(np.array_equal(one, other) for one, other in both)


def stress() -> list[str]:
    """Return what went wrong."""
    by_name = calls()
    expected = {name: call() for name, call in by_name.items()}
    failures: list[str] = []

    def work(first: int) -> None:
        names = list(by_name)
        for turn in range(first, first + ROUNDS * len(names)):
            name = names[turn % len(names)]
            if not same(by_name[name](), expected[name]):
                failures.append(f"{name} is another result among other threads")

    threads = [threading.Thread(target=work, args=(first,)) for first in range(CALLERS)]
    for thread in threads:
        thread.start()
    interrupts = interrupted_calls(threads)
    for thread in threads:
        thread.join()
    print(f"{CALLERS * ROUNDS} calls of each operator, {interrupts} more interrupted", flush=True)
    return failures


def interrupted_calls(while_alive: list[threading.Thread]) -> int:
    """Call sdpa with a timer's signal under way as long as some of the threads are at work."""

    class Interrupt(Exception):
        pass

    def interrupt(*_: Any) -> None:
        raise Interrupt

    signal.signal(signal.SIGALRM, interrupt)
    q, interrupts = normal(1, 8, 3000, 32), 0
    while any(thread.is_alive() for thread in while_alive):
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            fusedops.sdpa(q, q, q)
            time.sleep(0.3)
        except Interrupt:
            interrupts += 1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    return interrupts


if __name__ == "__main__":
    problems = stress()
    for problem in problems:
        print(problem)
    sys.exit(bool(problems))
