"""The run in few numbers: fusedops against the best that each framework has of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import geometric_mean

from bench.cases import Case
from bench.row import Row

COMPILED = ("torch.compile", "mx.compile")


@dataclass(frozen=True)
class Summary:
    """All cases of one kind on one device in one dtype.

    Ratios are the time of the framework's own operator, or of that through the framework's compiler where it was timed
    and is faster, over that of fusedops: above 1 fusedops is faster.
    """

    device: str
    kind: str
    dtype: str
    cases: int
    geometric_mean: float
    least: float
    least_case: str


def summarise(measured: Iterable[tuple[Case, list[Row]]]) -> list[Summary]:
    """In the order in which the kinds first came."""
    ratios: dict[tuple[str, str, str], dict[str, float]] = {}
    for case, rows in measured:
        key = (rows[0].device, case.kind, rows[0].dtype)
        ratios.setdefault(key, {})[case.name] = _ratio(rows)
    return [_summary(*key, of_kind) for key, of_kind in ratios.items()]


def _ratio(rows: list[Row]) -> float:
    times = {row.impl: row.median_s for row in rows}
    own = [time for name, time in times.items() if name in ("torch", "mlx", *COMPILED)]
    return min(own) / times["fusedops"]


def _summary(device: str, kind: str, dtype: str, ratios: dict[str, float]) -> Summary:
    least_case = min(ratios, key=lambda case: ratios[case])
    mean = geometric_mean(ratios.values())
    return Summary(device, kind, dtype, len(ratios), mean, ratios[least_case], least_case)
