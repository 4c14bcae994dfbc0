"""Clang and our dialect find nothing in any kernel that the shared cases need."""

from __future__ import annotations

from collections import defaultdict

from fusedops import sim
from fusedops.verification import cases, selftest


def sources() -> dict[str, set[str]]:
    """Return the instantiations of all kernels that the shared cases need, by the text that they instantiate."""
    found: dict[str, set[str]] = defaultdict(set)
    for check, all_cases in selftest.CHECKS.values():
        for case in all_cases:
            for dtype in cases.DTYPES:
                for launch in selftest.launches(check, case, dtype):
                    source, _, instantiation = launch.text.rstrip("\n").rpartition("\n")
                    found[source].add(instantiation)
    return found


def test_no_findings() -> None:
    found = sources()
    assert sum(map(len, found.values())) > 40
    for source, instantiations in found.items():
        assert sim.check("\n".join([source, *sorted(instantiations)])) == []


def test_every_instantiation_is_looked_at() -> None:
    text = """
    template <class T, int n>
    kernel void fill(device T* y [[buffer(0)]], uint i [[thread_position_in_grid]]) { static_assert(n != 5); y[i] = n; }
    """

    def instantiation(n: int) -> str:
        return f'template [[host_name("fill_{n}")]] [[kernel]] decltype(fill<float, {n}>) fill<float, {n}>;'

    assert sim.check("\n".join([text, *map(instantiation, (0, 1, 2))])) == []
    assert sim.check("\n".join([text, *map(instantiation, (0, 5, 1))])) != []
