"""Interleaved timing: every round takes one sample of each implementation, so that all see the same machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

Run = Callable[[int], None]
"""Makes that many calls and waits until the device has done them."""
Clock = Callable[[], float]

BUDGET_SECONDS = 0.8
MIN_ROUNDS, MAX_ROUNDS = 3, 50


@dataclass(frozen=True)
class Timing:
    """Seconds of one call.

    median_s: the median over the samples.
    spread: (90th - 10th percentile) / median of the samples.
    """

    median_s: float
    spread: float


def interleave(
    runs: Mapping[str, Run],
    sample_seconds: float,
    budget_seconds: float = BUDGET_SECONDS,
    clock: Clock = time.perf_counter,
) -> dict[str, Timing]:
    """Times all implementations against each other. Call each once before, so that none is timed compiling.

    A sample repeats its call until it takes about `sample_seconds`. All samples of one implementation together take
    `budget_seconds`, unless three take longer: the median of fewer would be that of a call whose memory is still cold.
    """
    repeats: dict[str, int] = {}
    rounds: dict[str, int] = {}
    for name, run in runs.items():
        seconds = _warm_up(run, sample_seconds, clock)
        repeats[name] = max(1, round(sample_seconds / seconds))
        rounds[name] = max(MIN_ROUNDS, min(MAX_ROUNDS, int(budget_seconds / (repeats[name] * seconds))))
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for round_number in range(max(rounds.values(), default=0)):
        for name, run in runs.items():
            if round_number < rounds[name]:
                samples[name].append(_sample(run, repeats[name], clock))
    return {name: summarise(values) for name, values in samples.items()}


def _sample(run: Run, repeats: int, clock: Clock) -> float:
    start = clock()
    run(repeats)
    return (clock() - start) / repeats


def _warm_up(run: Run, sample_seconds: float, clock: Clock) -> float:
    """Calls more and more often until that takes about a sample's time; gives the seconds of one call."""
    repeats = 1
    while True:
        # The better of two: the first of a kind may be slow, which would make all samples too short.
        seconds = max(min(_sample(run, repeats, clock) for _ in range(2)), 1e-9)
        if repeats * seconds >= sample_seconds / 2:
            return seconds
        repeats = min(10 * repeats, max(2 * repeats, round(sample_seconds / seconds)))


def summarise(samples: list[float]) -> Timing:
    median = statistics.median(samples)
    deciles = statistics.quantiles(samples, n=10, method="inclusive")
    return Timing(median, (deciles[-1] - deciles[0]) / median)
