"""The benchmark's counts of attention: fusedops' and MLX's Metal kernels in the simulator. No time is involved."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import bench.counting
import bench.run
from bench import attention_on_agx, mlx_kernels
from bench.cases import SUITES, Sdpa, decode, prefill
from bench.counting import (
    DTYPES,
    Counted,
    LaunchCost,
    count,
    fusedops_launches,
    lower_bound,
    mlx_launches,
    random_arrays,
)
from bench.mlx_kernels import installed_headers
from bench.reference import WrongResult
from fusedops.sim import ORDERS, build

HEADERS = installed_headers()
PREFILL = Sdpa(query_heads=4, kv_heads=2, query_length=40, key_length=40, head_dim=64, causal=True)
DECODE = Sdpa(query_heads=4, kv_heads=2, query_length=1, key_length=80, head_dim=64)

needs_mlx = pytest.mark.skipif(not HEADERS, reason="this mlx package carries no kernel headers")


def test_the_lower_bound() -> None:
    pairs = 4 * 40 * 41 // 2
    heads, item = 40 * 64, 2
    bound = lower_bound(PREFILL, "f16")
    assert (bound.multiply_accumulates, bound.exponentials) == (2 * pairs * 64, pairs)
    assert (bound.device_loaded, bound.device_stored) == ((4 + 2 + 2) * heads * item, 4 * heads * item)
    assert bound.device_loaded == bound.device_loaded_by_threadgroups == bound.device_loaded_distinct
    assert bound.device_stored == bound.device_stored_by_threadgroups == bound.device_stored_distinct
    assert lower_bound(DECODE, "f32").device_loaded == (4 + 2 * 2 * 80) * 64 * 4


@needs_mlx
def test_what_mlx_costs() -> None:
    """By hand, from the kernels' text: tiles of 32 queries by 32 keys, one loaded and stored by 4 SIMD-groups."""
    assert HEADERS
    (launch,) = count(PREFILL, "f16", {"mlx": mlx_launches(HEADERS)})["mlx"].launches
    assert (launch.kernel, launch.threadgroups) == ("attention<half, 32, 32, 64, 64, 4, 1>", 2 * 4)
    tiles = 4 * (1 + 2)  # of keys, for the two tiles of queries of each head
    assert launch.cost.multiply_accumulates == tiles * 2 * 32 * 32 * 64
    assert launch.cost.device_loaded_distinct == lower_bound(PREFILL, "f16").device_loaded
    assert launch.cost.device_stored == lower_bound(PREFILL, "f16").device_stored
    assert launch.cost.exponentials == tiles * 128 * (8 + 1)  # of the lane's scores, and of a row's correction


@pytest.mark.parametrize("case", [PREFILL, DECODE], ids=lambda case: case.name)
def test_one_head_stands_for_all(case: Sdpa, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = count(case, "f16", {"fusedops": fusedops_launches})["fusedops"]
    assert counted.heads_run == 1
    monkeypatch.setattr(bench.counting, "_repeats", lambda *launches: False)
    whole = count(case, "f16", {"fusedops": fusedops_launches})["fusedops"]
    assert whole.heads_run == 2
    assert without_exponentials(whole) == without_exponentials(counted)
    assert whole.cost.exponentials == pytest.approx(counted.cost.exponentials, rel=0.02)


def without_exponentials(counted: Counted) -> list[LaunchCost]:
    """Those depend on the values, a little: where a row's maximum stays, nothing is rescaled."""
    return [replace(launch, cost=replace(launch.cost, exponentials=0)) for launch in counted.launches]


@needs_mlx
@pytest.mark.parametrize("case", [PREFILL, DECODE], ids=lambda case: case.name)
def test_counts_do_not_depend_on_the_order(case: Sdpa) -> None:
    assert HEADERS
    for implementation in (fusedops_launches, mlx_launches(HEADERS)):
        launches, _ = implementation(case, random_arrays(case, "f16"))
        for launch in launches:
            library = build(launch.text, include=launch.include, count=True)
            costs = {launch.on(library.count, order=order, seed=1) for order in ORDERS}
            assert len(costs) == 1


def test_heads_that_are_not_alike_are_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a call that splits the keys by the number of heads, one head is no part."""
    alone, _ = fusedops_launches(DECODE, bench.counting._layouts(DECODE, "f16"))
    assert bench.counting._repeats(alone, alone, 1)
    assert not bench.counting._repeats(alone, alone, 2)
    assert not bench.counting._repeats(alone, [replace(alone[0], kernel="another"), *alone[1:]], 1)


@needs_mlx
@pytest.mark.parametrize(
    ("case", "architecture", "kernels"),
    [
        (prefill(64), "s", ["attention<half, 32, 16, 128, 128, 4, 1>"]),
        (prefill(64, head_dim=80), "s", ["attention<half, 32, 32, 80, 80, 4, 1>"]),
        (decode(512), "s", ["sdpa_vector<half, 128, 128>"]),
        (decode(2048), "g", ["sdpa_vector<half, 128, 128>"]),
        (decode(2048), "s", ["sdpa_vector_2pass_1<half, 128, 128>", "sdpa_vector_2pass_2<half, 128>"]),
        (
            replace(decode(8192), kv_heads=4),
            "s",
            ["sdpa_vector_2pass_1_gqa<half, 128, 128, 8, 4>", "sdpa_vector_2pass_2<half, 128>"],
        ),
    ],
)
def test_which_kernels_mlx_takes(case: Sdpa, architecture: str, kernels: list[str]) -> None:
    assert HEADERS
    arrays = [np.empty(shape, DTYPES["f16"]) for shape in case.shapes.values()]
    launches, _ = mlx_kernels.sdpa(*arrays, causal=case.causal, include=HEADERS, architecture=architecture)
    assert [launch.kernel for launch in launches] == kernels


def test_what_mlx_has_no_kernel_for() -> None:
    case = prefill(64, head_dim=40)
    with pytest.raises(ValueError, match="q: expected a head_dim of 64, 72, 80, 96, 128, got 40"):
        mlx_launches(Path())(case, [np.empty(shape, DTYPES["f16"]) for shape in case.shapes.values()])
    case = replace(decode(8192), kv_heads=2)
    with pytest.raises(ValueError, match="q: expected any group of query heads but 12 and 16"):
        mlx_launches(Path())(case, [np.empty(shape, DTYPES["f16"]) for shape in case.shapes.values()])


def test_a_wrong_result_stops_the_count() -> None:
    def wrong(case: Sdpa, arrays: list[np.ndarray]) -> mlx_kernels.Launches:
        launches, out = fusedops_launches(case, arrays)
        return launches, out[..., ::-1]

    with pytest.raises(WrongResult, match="reversed: sdpa decode"):
        count(DECODE, "f16", {"reversed": wrong})


@needs_mlx
def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(SUITES, "quick", lambda device: [*SUITES["norms"](device), PREFILL])
    path = tmp_path / "counts.json"
    assert bench.run.main(["--device", "sim", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "counted on 1 of 2 KV heads and multiplied" in printed
    (found,) = json.loads(path.read_text())["cases"].values()
    assert set(found) == {"fusedops", "mlx"}
    (launch,) = found["mlx"]["launches"]
    assert f"{launch['cost']['multiply_accumulates']:,}" in printed


def test_the_simulator_counts_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.run.main(["--device", "sim", "--device", "cpu"])
    assert "--device sim: expected it alone" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        bench.run.main(["--device", "sim", "--suite", "norms"])
    assert "--suite norms: has no attention" in capsys.readouterr().err


@needs_mlx
def test_the_kernels_that_are_compiled_for_apples_gpus() -> None:
    assert HEADERS
    ours = {launch.kernel for launch in attention_on_agx.launches("f16", fusedops_launches)}
    theirs = {launch.kernel for launch in attention_on_agx.launches("f16", mlx_launches(HEADERS))}
    assert {kernel.split("_half")[0] for kernel in ours} >= {"sdpa_prefill", "sdpa_decode_vector", "sdpa_decode_matrix"}
    assert {kernel.split("<")[0] for kernel in theirs} >= {"attention", "sdpa_vector", "sdpa_vector_2pass_1"}
    assert attention_on_agx.row("k", "asahi_clc crashes") == ["k", "asahi_clc crashes"]
