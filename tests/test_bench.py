"""The benchmark: its command line, its formulas, its clockwork and its judgement. No real time is asserted."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import bench.devices
import bench.run
from bench.caches import Cache, caches, working_set
from bench.cases import SUITES, Case, Geglu, Gelu, Limit, Mode, RmsNorm, Sdpa, cases_of, prefill
from bench.framework import open_framework
from bench.limits import LARGEST, SMALLEST, CpuLimits, Limits
from bench.measure import measure, row
from bench.reference import WrongResult, check
from bench.report import seconds
from bench.row import Row
from bench.summary import Summary
from bench.summary import summarise as summarise_run
from bench.timing import MAX_ROUNDS, Timing, interleave, summarise
from fusedops import _core

FRAMEWORK_OF = {"cpu": "torch", "mlx-cpu": "mlx"}
DEVICES_HERE = [device for device, framework in FRAMEWORK_OF.items() if find_spec(framework)]
KEYS = ["op", "case", "dtype", "device", "impl", "median_s", "spread", "gbps", "gflops", "limit_share", "ratio"]

every_device = pytest.mark.parametrize("device", DEVICES_HERE)


# --- the command line


def exit_status(*argv: str) -> int:
    try:
        return bench.run.main(argv)
    except SystemExit as stop:
        assert isinstance(stop.code, int)
        return stop.code


@every_device
@pytest.mark.parametrize("suite", SUITES)
def test_list_prints_every_case(suite: str, device: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status("--list", "--suite", suite, "--device", device, "--dtype", "f16", "--dtype", "bf16") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(SUITES[suite](device))
    assert all(line.startswith(device) for line in lines)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--suite", "everything"], "--suite: invalid choice: 'everything'"),
        (["--device", "tpu"], "--device: invalid choice: 'tpu'"),
        (["--dtype", "f64"], "--dtype: invalid choice: 'f64'"),
        (["--threads", "0"], "--threads: '0' is not a positive number"),
        (["--threads", "two"], "--threads: 'two' is not a positive number"),
        (["--seconds", "0"], "--seconds: '0' is not a positive number"),
        (["--seconds", "nan"], "--seconds: 'nan' is not a positive number"),
        (["--json", "/no/such/folder/results.json"], "--json: cannot write '/no/such/folder/results.json'"),
        (["--json", "/"], "--json: cannot write '/'"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_bad_arguments_are_refused(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status(*argv, "--list") == 2
    assert message in capsys.readouterr().err


def pretend_not_installed(monkeypatch: pytest.MonkeyPatch, *frameworks: str) -> None:
    monkeypatch.setattr(bench.devices, "find_spec", lambda name: None if name in frameworks else find_spec(name))


def test_a_requested_device_that_is_not_here_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend_not_installed(monkeypatch, "torch")
    assert exit_status("--list", "--device", "all", "--device", "cuda") == 2
    assert "--device cuda: torch is not installed" in capsys.readouterr().err


@every_device
def test_one_framework_is_enough(
    device: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = "mlx" if FRAMEWORK_OF[device] == "torch" else "torch"
    pretend_not_installed(monkeypatch, other)
    assert exit_status("--list") == 0
    out, err = capsys.readouterr()
    assert f"left out: {other} is not installed" in err
    assert out.startswith(device)
    assert not any(line.startswith("mlx") != device.startswith("mlx") for line in out.splitlines())


def test_no_framework_is_not_enough(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pretend_not_installed(monkeypatch, "torch", "mlx")
    assert exit_status("--list") == 2
    assert "neither torch nor mlx is installed" in capsys.readouterr().err


@every_device
def test_a_run_writes_the_documented_json(device: str, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    script = bench.run.__file__
    options = ["--suite", "overhead", "--device", device, "--dtype", "f32", "--threads", "1", "--json", str(path)]
    ran = subprocess.run([sys.executable, script, *options], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    document = json.loads(path.read_text())
    assert list(document) == ["environment", "limits", "rows", "summary"]
    assert document["environment"]["threads"] == 1
    assert document["environment"]["numpy"] == np.__version__
    assert list(document["limits"]) == [device]
    times: dict[str, dict[tuple[str, str], float]] = {}
    for found in document["rows"]:
        assert list(found) == KEYS
        times.setdefault(found["impl"], {})[found["op"], found["case"]] = found["median_s"]
    own = times[FRAMEWORK_OF[device]]
    assert set(times["fusedops"]) == set(own) == {(case.op, case.name) for case in cases_of(["overhead"], device)}
    for found in document["rows"]:
        assert found["median_s"] > 0
        assert found["ratio"] == own[found["op"], found["case"]] / found["median_s"]
        assert (found["gbps"], found["gflops"], found["limit_share"]) == (None, None, None)
        assert found["case"] in ran.stdout


@every_device
def test_a_wrong_result_stops_the_run(
    device: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import fusedops

    right = fusedops.rms_norm
    monkeypatch.setattr(fusedops, "rms_norm", lambda *args, **kwargs: right(*args, **kwargs) * 1.01)
    assert exit_status("--suite", "overhead", "--device", device, "--dtype", "f32") == 1
    assert "wrong result: fusedops: rms_norm 1x64, f32" in capsys.readouterr().err


# --- cases


@pytest.mark.parametrize(
    ("case", "item_size", "bytes_moved", "flops"),
    [
        (RmsNorm(rows=2, hidden=8), 4, (2 * 2 * 8 + 8) * 4, None),
        (RmsNorm(rows=2, hidden=8, residual=True), 2, (4 * 2 * 8 + 8) * 2, None),
        (Gelu(shape=(3, 5)), 4, 120, None),
        (Geglu(shape=(3, 5)), 2, 90, None),
        # q and out 4 x 1 x 16 each, k and v 2 x 10 x 16 each; 4 heads x 10 keys x 16 x 2 products x 2
        (Sdpa(query_heads=4, kv_heads=2, query_length=1, key_length=10, head_dim=16), 4, 3072, 2560),
        (Sdpa(query_heads=4, kv_heads=2, query_length=3, key_length=3, head_dim=16, batch=2), 2, 2304, 4608),
        # 1 + 2 + 3 pairs instead of 9
        (Sdpa(query_heads=4, kv_heads=2, query_length=3, key_length=3, head_dim=16, causal=True), 2, 1152, 1536),
    ],
)
def test_bytes_and_flops(case: Case, item_size: int, bytes_moved: int, flops: int | None) -> None:
    assert case.bytes_moved(item_size) == bytes_moved
    assert case.flops == flops


@pytest.mark.parametrize("device", bench.devices.DEVICES)
def test_suites_are_sound(device: str) -> None:
    everything = cases_of(list(SUITES), device)
    assert len({(case.op, case.name, case.mode) for case in everything}) == len(everything)
    for case in everything:
        if isinstance(case, Sdpa) and case.causal:
            assert case.query_length == case.key_length
        assert device.startswith("mlx") or case.mode is not Mode.LAZY
    quick = cases_of(["quick"], device)
    assert {case.op for case in quick} == {"rms_norm", "gelu", "geglu", "sdpa"}
    assert {case.limit for case in quick if case.op == "sdpa"} == {Limit.COMPUTE, Limit.READ}
    assert {case.residual for case in quick if isinstance(case, RmsNorm)} == {True, False}


# --- timing, by a clock that goes only when told to


class FakeMachine:
    """Calls take the seconds that they are said to take, times a slowness that can change."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slowness = 1.0
        self.log: list[tuple[str, int]] = []

    def clock(self) -> float:
        return self.now

    def implementation(self, name: str, seconds_per_call: float) -> Callable[[int], None]:
        def run(repeats: int) -> None:
            self.log.append((name, repeats))
            self.now += repeats * seconds_per_call * self.slowness

        return run


def test_samples_are_long_enough_and_interleaved() -> None:
    machine = FakeMachine()
    runs = {"a": machine.implementation("a", 3e-6), "b": machine.implementation("b", 0.02)}
    timings = interleave(runs, 1e-3, clock=machine.clock)
    assert timings["a"].median_s == pytest.approx(3e-6)
    assert timings["b"].median_s == pytest.approx(0.02)
    assert timings["a"].spread == pytest.approx(0, abs=1e-6)
    names = [name for name, _ in machine.log]
    rounds = machine.log[names.index("b") + 2 :]  # before them b is called twice, to see how long it takes
    repeats_of_a = [repeats for name, repeats in rounds if name == "a"]
    assert len(repeats_of_a) == MAX_ROUNDS
    assert min(repeats_of_a) * 3e-6 >= 0.9e-3
    assert [repeats for name, repeats in rounds if name == "b"] == [1] * 40  # 40 calls of 0.02 s are its budget
    assert [name for name, _ in rounds[:80]] == ["a", "b"] * 40


def test_a_machine_that_slows_down_does_not_change_the_ratio() -> None:
    machine = FakeMachine()
    fast, slow = machine.implementation("fast", 0.01), machine.implementation("slow", 0.02)

    def slow_and_heating(repeats: int) -> None:
        slow(repeats)
        if machine.now > 0.5:
            machine.slowness = 3.0

    timings = interleave({"fast": fast, "slow": slow_and_heating}, 1e-3, clock=machine.clock)
    assert timings["fast"].median_s == pytest.approx(0.03)
    assert timings["slow"].median_s == pytest.approx(0.06)


def test_slow_calls_are_timed_three_times() -> None:
    machine = FakeMachine()
    timings = interleave({"slow": machine.implementation("slow", 5.0)}, 1e-3, clock=machine.clock)
    assert timings["slow"] == Timing(5.0, 0)
    assert machine.now == 25.0  # two calls to see how long it takes, three samples


def test_a_slow_start_does_not_shorten_the_samples() -> None:
    machine = FakeMachine()
    steady = machine.implementation("steady", 1e-5)

    def cold_at_first(repeats: int) -> None:
        machine.now += 0.1 if not machine.log else 0
        steady(repeats)

    timings = interleave({"steady": cold_at_first}, 1e-3, clock=machine.clock)
    assert machine.log[-1] == ("steady", 100)
    assert timings["steady"].median_s == pytest.approx(1e-5)


def test_spread_is_between_the_deciles() -> None:
    timing = summarise([float(value) for value in range(11, 0, -1)])
    assert timing.median_s == 6
    assert timing.spread == pytest.approx((10 - 2) / 6)


# --- judgement: a plain float64 implementation passes, its corruptions do not


def inputs_of(case: Case) -> list[np.ndarray]:
    random = np.random.default_rng(5)
    return [random.standard_normal(shape, np.float32) for shape in case.shapes.values()]


def plain_rms_norm(case: RmsNorm, x: np.ndarray, weight: np.ndarray, *residual: np.ndarray) -> list[np.ndarray]:
    total = (x + residual[0] if residual else x).astype(np.float64)
    y = total * weight / np.sqrt((total * total).sum(-1, keepdims=True) / case.hidden + 1e-6)
    return [y, total] if residual else [y]


def plain_gelu(x: np.ndarray, approximate: str) -> np.ndarray:
    def gate(value: float) -> float:
        if approximate == "tanh":
            return (1 + math.tanh(0.7978845608028654 * (value + 0.044715 * value**3))) / 2
        return (1 + math.erf(value * 0.7071067811865476)) / 2

    return np.reshape([value * gate(value) for value in x.flat], x.shape)


def plain_sdpa(case: Sdpa, q: np.ndarray, k: np.ndarray, v: np.ndarray, shift: int = 0) -> list[np.ndarray]:
    group = case.query_heads // case.kv_heads
    scores = q.astype(np.float64) @ np.repeat(k, group, 1).swapaxes(-1, -2) * case.head_dim**-0.5
    if case.causal:
        scores += np.where(np.tri(case.query_length, case.key_length, shift, dtype=bool), 0, -np.inf)
    weights = np.exp(scores)
    return [weights / weights.sum(-1, keepdims=True) @ np.repeat(v, group, 1)]


NORM = RmsNorm(rows=40, hidden=96)
ADD_AND_NORM = RmsNorm(rows=40, hidden=96, residual=True)
GELU = Gelu(shape=(7, 300))
GELU_TANH = Gelu(shape=(7, 300), approximate="tanh")
GEGLU = Geglu(shape=(7, 300))
PREFILL = Sdpa(batch=2, query_heads=6, kv_heads=2, query_length=40, key_length=40, head_dim=32, causal=True)
DECODE = Sdpa(query_heads=6, kv_heads=2, query_length=1, key_length=100, head_dim=32)

PLAIN: dict[Case, Callable[..., list[np.ndarray]]] = {
    NORM: lambda *arrays: plain_rms_norm(NORM, *arrays),
    ADD_AND_NORM: lambda *arrays: plain_rms_norm(ADD_AND_NORM, *arrays),
    GELU: lambda x: [plain_gelu(x, "none")],
    GELU_TANH: lambda x: [plain_gelu(x, "tanh")],
    GEGLU: lambda gate, up: [plain_gelu(gate, "none") * up],
    PREFILL: lambda *arrays: plain_sdpa(PREFILL, *arrays),
    DECODE: lambda *arrays: plain_sdpa(DECODE, *arrays),
}


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: f"{case.op} {case.name}")
@pytest.mark.parametrize("dtype", ["f32", "f16", "bf16"])
def test_right_results_pass(case: Case, dtype: str) -> None:
    inputs = inputs_of(case)
    check(case, dtype, inputs, {"plain": PLAIN[case](*inputs)})


def last_element_wrong(array: np.ndarray) -> np.ndarray:
    changed = array.copy()
    changed.flat[-1] += 0.5
    return changed


@pytest.mark.parametrize(
    ("case", "broken"),
    [
        (NORM, lambda x, w: [plain_rms_norm(NORM, x, np.ones_like(w))[0]]),
        (NORM, lambda x, w: [np.full_like(x, np.nan)]),
        (NORM, lambda x, w: [last_element_wrong(plain_rms_norm(NORM, x, w)[0])]),
        (ADD_AND_NORM, lambda x, w, r: [plain_rms_norm(ADD_AND_NORM, x, w, r)[0], x]),
        (ADD_AND_NORM, lambda x, w, r: [plain_rms_norm(ADD_AND_NORM, x, w)[0], x + r]),
        (GELU, lambda x: [plain_gelu(x, "tanh")]),
        (GELU_TANH, lambda x: [plain_gelu(x, "none")]),
        (GEGLU, lambda gate, up: [plain_gelu(up, "none") * gate]),
        (GEGLU, lambda gate, up: [last_element_wrong(plain_gelu(gate, "none") * up)]),
        (PREFILL, lambda q, k, v: plain_sdpa(PREFILL, q, k, v, shift=1)),
        (PREFILL, lambda q, k, v: plain_sdpa(PREFILL, q, k[:, ::-1], v[:, ::-1])),
        (DECODE, lambda q, k, v: plain_sdpa(DECODE, q, k[:, :, :-1], v[:, :, :-1])),
    ],
)
def test_wrong_results_are_found(case: Case, broken: Callable[..., list[np.ndarray]]) -> None:
    inputs = inputs_of(case)
    results = {"right": PLAIN[case](*inputs), "broken": broken(*inputs)}
    with pytest.raises(WrongResult, match=rf"^broken: {case.op} .*, f32: "):
        check(case, "f32", inputs, results)


# --- rows


class KnownLimits(Limits):
    def _measure_copy(self, num_bytes: int) -> float:
        return 50.0

    def _measure_read(self, num_bytes: int) -> float:
        return 40.0

    def _measure_compute(self, dtype: str) -> float:
        return 200.0


def test_a_memory_bound_row() -> None:
    case = Gelu(shape=(1_000_000,))
    found = row(case, "f32", "cpu", "fusedops", Timing(2e-4, 0.1), 6e-4, KnownLimits())
    assert (found.op, found.case, found.dtype) == ("gelu", "1000000", "f32")
    assert (found.device, found.impl) == ("cpu", "fusedops")
    assert (found.median_s, found.spread, found.gflops) == (2e-4, 0.1, None)
    assert found.gbps == pytest.approx(40)  # 8 MB in 0.2 ms
    assert found.limit_share == pytest.approx(0.8)
    assert found.ratio == pytest.approx(3)


def test_a_compute_bound_row() -> None:
    found = row(PREFILL, "bf16", "cpu", "fusedops", Timing(1e-5, None), 5e-6, KnownLimits())
    flops = 4 * 2 * 6 * (40 * 41 // 2) * 32
    assert found.gflops == pytest.approx(flops / 1e4)
    assert found.limit_share == pytest.approx(flops / 1e4 / 200)
    assert found.gbps == pytest.approx(2 * (6 + 2) * 2 * 40 * 32 * 2 / 1e4)
    assert found.ratio == pytest.approx(0.5)


def test_decode_is_held_against_the_read_bandwidth() -> None:
    found = row(DECODE, "f32", "cpu", "fusedops", Timing(1e-5, None), 1e-5, KnownLimits())
    assert found.gbps is not None and found.gflops is not None
    assert found.limit_share == pytest.approx(found.gbps / 40)


def test_limits_are_measured_once_for_every_size_and_dtype() -> None:
    limits = KnownLimits()
    for num_bytes in (1, SMALLEST, SMALLEST + 1, LARGEST + 1):
        limits.copy(num_bytes)
        limits.read(num_bytes)
    limits.compute("f32")
    assert limits.copy_gbps == {SMALLEST: 50.0, SMALLEST + 1: 50.0, LARGEST: 50.0}
    assert limits.read_gbps == {SMALLEST: 40.0, SMALLEST + 1: 40.0, LARGEST: 40.0}
    assert limits.compute_gflops == {"f32": 200.0}


def test_the_limits_of_a_cpu() -> None:
    limits = CpuLimits()
    assert sorted(limits.levels) == sorted(limits.arithmetic) == sorted({1, _core.threads()})
    for levels in limits.levels.values():
        assert [level.name for level in levels] == [f"L{cache.level}" for cache in caches()] + ["memory"]
        assert all(level.copy_gbps > 0 and level.read_gbps > 0 for level in levels)
    for rates in limits.arithmetic.values():
        assert {_core.instruction_set(), "scalar"} <= rates.keys()
        assert all(rate > 0 for of_set in rates.values() for rate in of_set.values())
        best = max(of_set["float32"] for of_set in rates.values())
        assert best > rates["scalar"]["float32"]
    of_all_threads = limits.arithmetic[_core.threads()]
    assert limits.compute("f32") == limits.compute("f16") == max(rates["float32"] for rates in of_all_threads.values())
    assert limits.compute("bf16") == max(rate for rates in of_all_threads.values() for rate in rates.values())


@pytest.mark.skipif(not Path("/sys/devices/system/cpu/cpu0/cache").exists(), reason="the system does not tell")
def test_caches_grow_with_their_level() -> None:
    found = caches()
    assert [cache.level for cache in found] == sorted({cache.level for cache in found})
    assert [cache.size for cache in found] == sorted(cache.size for cache in found)


def test_working_sets_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    private, shared = Cache(level=1, size=2**15, shared_by=1), Cache(level=3, size=2**25, shared_by=4)
    assert [working_set(private, threads) for threads in (1, 2, 8, 16)] == [2**14, 2**15, 2**17, 2**17]
    assert [working_set(shared, threads) for threads in (1, 2, 8, 16)] == [2**24, 2**24, 2**25, 2**25]


def row_of(case: Case, device: str, impl: str, median_s: float) -> Row:
    return row(case, "f32", device, impl, Timing(median_s, None), 1e-3, KnownLimits())


def test_the_summary_takes_the_better_of_the_framework_and_its_compiler() -> None:
    times = {"fusedops": 1e-4, "torch": 4e-4, "composite": 1e-6}
    slower = [row_of(NORM, "cpu", impl, time) for impl, time in times.items()]
    wider = RmsNorm(rows=2, hidden=8)
    faster = [row_of(wider, "cpu", impl, time) for impl, time in (times | {"torch.compile": 1e-4}).items()]
    decode = [row_of(DECODE, "mlx-cpu", impl, time) for impl, time in {"fusedops": 2e-4, "mlx": 1e-4}.items()]
    assert summarise_run([(NORM, slower), (wider, faster), (DECODE, decode)]) == [
        Summary("cpu", "rms_norm", "f32", 2, pytest.approx(2.0), pytest.approx(1.0), "2x8"),
        Summary("mlx-cpu", "decode", "f32", 1, pytest.approx(0.5), pytest.approx(0.5), DECODE.name),
    ]


def test_kinds_do_not_mix_limits() -> None:
    cases = cases_of(list(SUITES), "cpu")
    for kind in {case.kind for case in cases}:
        assert len({case.limit for case in cases if case.kind == kind}) == 1
    assert {case.kind for case in cases} >= {"rms_norm", "add + rms_norm", "gelu", "geglu", "decode", "prefill"}


@pytest.mark.skipif(not find_spec("torch"), reason="torch is not installed")
@pytest.mark.parametrize("case", [RmsNorm(rows=64, hidden=4096, residual=residual) for residual in (False, True)])
def test_the_kernel_alone_writes_where_it_wrote_before(case: RmsNorm) -> None:
    framework = open_framework("cpu")
    for dtype in ("f32", "f16", "bf16"):
        inputs = [framework.array(array, dtype) for array in inputs_of(case)]
        kernel = framework.implementations(case, compiled=False)["kernel"]
        first, again = kernel(*inputs), kernel(*inputs)
        assert [output.data_ptr() for output in first] == [output.data_ptr() for output in again]
        check(
            case, dtype, [framework.to_numpy(array) for array in inputs], {"kernel": framework.results(kernel, inputs)}
        )


BY_HAND: dict[str, set[str]] = {
    "rms_norm": {"composite"},
    "gelu": set(),
    "geglu": set(),
    "sdpa": {"matmul+softmax"},
}


@every_device
@pytest.mark.parametrize("case", PLAIN, ids=lambda case: f"{case.op} {case.name}")
def test_all_implementations_are_right(case: Case, device: str) -> None:
    framework = open_framework(device)
    arrays = inputs_of(case)
    for dtype in ("f32", "f16", "bf16"):
        inputs = [framework.array(array, dtype) for array in arrays]
        implementations = framework.implementations(case, compiled=False)
        results = {name: framework.results(function, inputs) for name, function in implementations.items()}
        assert set(results) == {"fusedops", framework.name} | BY_HAND[case.op]
        check(case, dtype, [framework.to_numpy(array) for array in inputs], results)


@every_device
def test_scores_beyond_memory_are_not_stored(device: str) -> None:
    assert "matmul+softmax" not in open_framework(device).implementations(prefill(65536), compiled=False)


@every_device
def test_compilers_are_timed_on_request(device: str) -> None:
    compiler = {"torch": "torch.compile", "mlx": "mx.compile"}[FRAMEWORK_OF[device]]
    assert compiler in open_framework(device).implementations(GEGLU, compiled=True)


@every_device
def test_measure_checks_before_it_times(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    framework = open_framework(device)
    right = framework.implementations
    monkeypatch.setattr(
        framework, "implementations", lambda *arguments: right(*arguments) | {"zeros": lambda x, weight: x * 0}
    )
    monkeypatch.setattr(framework, "run", lambda *arguments: pytest.fail("timed before checked"))
    with pytest.raises(WrongResult, match="zeros: rms_norm 40x96, f32"):
        measure(NORM, "f32", framework, KnownLimits(), compiled=False)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.5, "2.5 s"),
        (0.99999, "1 s"),
        (0.0123, "12.3 ms"),
        (123e-6, "123 us"),
        (4.56e-6, "4.56 us"),
        (1e-8, "0.01 us"),
    ],
)
def test_seconds_are_readable(value: float, text: str) -> None:
    assert seconds(value) == text
