"""The shell command, in process: what it prints and its exit status."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fusedops.sim
from fusedops.sim.command import main
from fusedops.sim.command.buffers import parse_buffers
from fusedops.sim.errors import SimulatorError

ROOT = Path(__file__).resolve().parents[2]

# Every row's sum of x * scale, and one template that is not instantiated.
ROW_SUM = """#include <metal_stdlib>
using namespace metal;

template <typename T>
[[kernel]] void row_sum(device const T* x [[buffer(0)]], device T* sum [[buffer(1)]],
                        constant float& scale [[buffer(2)]], constant uint& n [[buffer(3)]],
                        uint row [[threadgroup_position_in_grid]],
                        uint thread_index [[thread_index_in_threadgroup]], uint threads [[threads_per_threadgroup]],
                        uint simdgroup [[simdgroup_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {
  threadgroup float partial[2];
  float total = 0;
  for (uint i = thread_index; i < n; i += threads) {
    total += float(x[row * n + i]);
  }
  total = simd_sum(total);
  if (lane == 0) {
    partial[simdgroup] = total;
  }
  BARRIER;
  if (thread_index == 0) {
    sum[row] = T((partial[0] + partial[1]) * scale);
  }
}
template [[host_name("row_sum_float")]] [[kernel]] decltype(row_sum<float>) row_sum<float>;
"""
BARRIER = ["-D", "BARRIER=threadgroup_barrier(mem_flags::mem_threadgroup)"]
LAUNCH = ["--threadgroups", "3", "--threads-per-threadgroup", "64"]
BUFFERS = [
    "--buffer",
    "float32:3x100",
    "--buffer",
    "float32:3:poison",
    "--buffer",
    "float32=0.5",
    "--buffer",
    "uint32=100",
]


@pytest.fixture
def row_sum(tmp_path: Path) -> str:
    file = tmp_path / "row_sum.metal"
    file.write_text(ROW_SUM)
    return str(file)


def test_run(row_sum: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out.npz"
    expected = ["--expect", "1: b0.sum(-1) * b2"]
    assert main(["run", row_sum, "row_sum_float", *BARRIER, *LAUNCH, *BUFFERS, *expected, "--save", str(output)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("buffer 1 (sum): float32 3, min ") and "NaN 0" in lines[0]
    assert lines[1] == "orders agree bit for bit: forward, reverse, random"
    assert lines[2].startswith("buffer 1 is as expected: error ")
    assert lines[3:] == ["no findings"]
    saved = np.load(output)
    np.testing.assert_allclose(saved["b1"], saved["b0"].astype(np.float64).sum(-1) / 2, rtol=1e-5, atol=1e-5)


def test_run_finds_a_race(row_sum: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", row_sum, "row_sum_float", "-D", "BARRIER=", *LAUNCH, *BUFFERS]) == 1
    output = capsys.readouterr().out
    assert "data race on threadgroup memory" in output and "row_sum.metal:" in output
    assert "no findings" not in output
    kinds = [line.partition(" (")[0] for line in output.splitlines() if line.startswith("error")]
    assert len(kinds) == len(set(kinds))  # said once, not for every order


def test_run_without_checks_can_accept_findings(row_sum: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", row_sum, "row_sum_float", "-D", "BARRIER=", *LAUNCH, *BUFFERS, "--order", "forward"]
    assert main([*command, "--allow", "race|uninitiali[sz]ed"]) == 0
    assert "orders" not in capsys.readouterr().out


def test_run_counts(row_sum: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", row_sum, "row_sum_float", *BARRIER, *LAUNCH, *BUFFERS, "--count"]) == 0
    lines = capsys.readouterr().out.splitlines()
    counted = ["device loaded: 1,200", "device stored: 12", "threadgroup loaded: 24", "reductions: 6"]
    assert [lines.count(line) for line in counted] == [1] * 4  # once for all orders
    assert "orders differ" not in "".join(lines)


def test_run_says_what_is_unexpected(row_sum: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", row_sum, "row_sum_float", *BARRIER, *LAUNCH, *BUFFERS]
    assert main([*command, "--expect", "1: b0.sum(-1)"]) == 1
    assert "buffer 1: 3 of 3 elements are not as expected (tolerance 1e-05); at [0]: " in capsys.readouterr().out
    assert main([*command, "--expect", "1: b0.sum(-1) * b2 + 1e-3", "--tolerance", "0.1"]) == 0


def test_run_instantiates_a_template(row_sum: str, capsys: pytest.CaptureFixture[str]) -> None:
    buffers = [text.replace("float32:3", "bfloat16:3") for text in BUFFERS]
    command = ["run", row_sum, "row_sum< bfloat >", *BARRIER, *LAUNCH, *buffers, "--order", "random", "--seed", "7"]
    assert main([*command, "--expect", "1: b0.sum(-1) * b2", "--check"]) == 0
    assert "buffer 1 (sum): bfloat16 3" in capsys.readouterr().out


def test_run_tells_what_was_never_written(row_sum: str, capsys: pytest.CaptureFixture[str]) -> None:
    buffers = ["--buffer", "float32:3x100", "--buffer", "float32:5:poison", *BUFFERS[4:]]
    assert main(["run", row_sum, "row_sum_float", *BARRIER, *LAUNCH, *buffers, "--order", "forward"]) == 0
    assert "NaN 2 (2 never written)" in capsys.readouterr().out


def test_run_a_header(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "add.h").write_text(
        "template <typename T> [[kernel]] void add(device T* x [[buffer(0)]], constant Amount& amount [[buffer(5)]],"
        " uint i [[thread_position_in_grid]]) { x[i] += T(negative ? amount.b : float(amount.a)); }\n"
    )
    (tmp_path / "amount.h").write_text(
        "struct Amount { uchar a; float b; }; constant bool negative [[function_constant(0)]];\n"
    )
    command = ["run", str(tmp_path / "add.h"), "add<int>", "-I", str(tmp_path), "--include", "amount.h"]
    launch = ["--threads", "5", "--threads-per-threadgroup", "4", "--constant", "negative=true"]
    buffers = ["--buffer", "int:5:arange", "--buffer", "5@uchar=3/float=-4"]
    assert main([*command, *launch, *buffers, "--expect", "0: np.arange(5) - 4"]) == 0
    assert "buffer 0 (x): int32 5, min -4, max 0" in capsys.readouterr().out


def test_run_a_kernel_of_mlx(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mlx")
    buffers = ["--buffer", "half:2x130", "--buffer", "half:2x130:poison", "--buffer", "int=130"]
    launch = ["--threadgroups", "2", "--threads-per-threadgroup", "64"]
    expected = ["--expect", "1: np.exp(b0) / np.exp(b0).sum(-1, keepdims=True)"]
    assert main(["run", "mlx:softmax.h", "softmax_single_row<half>", *launch, *buffers, *expected]) == 0
    assert "buffer 1 is as expected" in capsys.readouterr().out


def test_check(row_sum: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", row_sum, *BARRIER]) == 0
    assert capsys.readouterr().out == "no findings\n"
    bad = tmp_path / "bad.metal"
    bad.write_text("kernel void k(device float* x [[buffer(0)]]) { float* p = x; }\n")
    assert main(["check", str(bad)]) == 1
    assert capsys.readouterr().out.startswith(f"{bad}:1: ")
    assert main(["check", str(bad), "--allow", "address space|cannot initialize"]) == 0


def test_check_tells_what_it_could_not_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "template.metal"
    file.write_text("template <typename T> [[kernel]] void k(device T* x [[buffer(0)]]) { x[0] = undefined(T(1)); }\n")
    assert main(["check", str(file)]) == 0
    assert capsys.readouterr().out.startswith("not checked: the template k has no instantiation")
    assert main(["check", str(file), "--instantiate", "k<float>"]) == 1
    assert "undefined" in capsys.readouterr().out


def test_list(row_sum: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", row_sum, *BARRIER]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "template<typename T> kernel row_sum"
    assert lines[1].split(maxsplit=2) == ["buffer", "0", "device const T* x"]
    assert "    instantiated as row_sum_float" in lines


@pytest.mark.parametrize("target", ["simulator", "cuda", "opencl", "agx"])
def test_translate(row_sum: str, target: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["translate", row_sum, *BARRIER, "--target", target]) == 0
    assert f'#include "metal_{"sim" if target == "simulator" else target}.h"' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    {
        "kernel": (["row_min"], "there is no kernel 'row_min'"),
        "dtype": (["row_sum_float", "--buffer", "float64:3"], "unknown dtype 'float64'"),
        "shape": (["row_sum_float", "--buffer", "float32:3y4"], "expected DTYPE:SHAPE"),
        "fill": (["row_sum_float", "--buffer", "float32:3:maybe"], "expected random, uniform, arange"),
        "file": (["row_sum_float", "--buffer", "nowhere.npy"], "nowhere.npy"),
        "value": (["row_sum_float", "--buffer", "uint8=300"], "--buffer uint8=300: 300 does not fit uint8"),
        "index": (["row_sum_float", "--buffer", "x@uint8=3"], "expected an index before '@'"),
        "taken": (
            ["row_sum_float", "--buffer", "uint8=3", "--buffer", "0@uint8=3"],
            "index 0 is beyond the last or taken",
        ),
        "expectation": (["row_sum_float", "--expect", "b0"], "expected 'INDEX: EXPRESSION'"),
        "expression": (["row_sum_float", *BUFFERS, "--expect", "1: c"], "NameError: name 'c' is not defined"),
        "expected shape": (["row_sum_float", *BUFFERS, "--expect", "1: b0"], "ValueError: "),
    }.values(),
)
def test_run_refuses(row_sum: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", row_sum, *arguments, *BARRIER, *LAUNCH]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    {
        "extent": (["--threadgroups", str(2**32 + 1)], "threadgroups[0]: expected from 1 to 4294967295"),
        "no extent": (["--threads", "0"], "threads[0]: expected from 1"),
        "threadgroup": (["--threads", "1", "--threads-per-threadgroup", "1025"], "the limit is 1024"),
        "memory": (["--threads", "1", "--threadgroup-memory", "31=16"], "threadgroup_memory: an index"),
        "length": (["--threads", "1", "--threadgroup-memory", f"0={2**32}"], "threadgroup_memory[0]: expected"),
        "time limit": (["--threads", "1", "--time-limit", "nan"], "time_limit: expected from 0"),
        "seed": (["--threads", "1", "--seed", "-1"], "expected non-negative integer"),
    }.values(),
)
def test_run_refuses_a_launch(
    row_sum: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", row_sum, "row_sum_float", "--fast", *BARRIER, *arguments, *BUFFERS]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["run", "a.metal", "k"],
        ["run", "a.metal", "k", "--threads", "axb"],
        ["check", "a.metal", "--allow", "("],
        ["translate", "a.metal", "--target", "vulkan"],
    ],
)
def test_a_command_line_without_sense_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)


def test_buffers(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([1.0, 1.00390625, np.nan, -np.inf], np.float32))
    specifications = [
        "float16:2x3",
        "4@bool:8",
        f"bfloat16:{tmp_path}/x.npy",
        "half=1,2",
        "uint8=1/int64=-2/uint16=0x10,0*2",
    ]
    buffers = parse_buffers(specifications, seed=3)
    assert [(buffer.index, buffer.dtype, buffer.shape) for buffer in buffers] == [
        (0, "float16", "2x3"),
        (4, "bool", "8"),
        (5, "bfloat16", "4"),
        (6, "float16", "2"),
        (7, "struct", "24"),
    ]
    np.testing.assert_array_equal(buffers[2].values(), [1, 1, np.nan, -np.inf])  # a tie goes to even
    np.testing.assert_array_equal(buffers[0].data, parse_buffers(specifications, seed=3)[0].data)
    assert not np.array_equal(buffers[0].data, parse_buffers(specifications, seed=4)[0].data)
    packed = np.dtype({"names": "abc", "formats": ["u1", "i8", "3u2"], "offsets": [0, 8, 16], "itemsize": 24})
    expected = np.zeros((), packed)
    expected[()] = (1, -2, [16, 0, 0])
    assert buffers[4].data.tobytes() == expected.tobytes()


def test_buffer_values_must_be_numbers() -> None:
    with pytest.raises(SimulatorError, match=r"--buffer float32=one: could not convert string to float"):
        parse_buffers(["float32=one"], seed=0)


def test_commands_of_the_documentation(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("mlx")
    monkeypatch.chdir(ROOT)
    block = re.search(r"```sh\n(.*?)```", (ROOT / "docs/simulator.md").read_text(), re.DOTALL)
    assert block
    commands = block[1].replace("\\\n", " ").strip().split("\n\n")
    assert len(commands) == 2
    for command in commands:
        assert main(shlex.split(command)[3:]) == 0, capsys.readouterr().out
        assert "is as expected" in capsys.readouterr().out


def test_a_copy_of_the_folder_works_anywhere(tmp_path: Path, row_sum: str) -> None:
    folder = Path(fusedops.sim.__file__).parent
    shutil.copytree(folder, tmp_path / "laboratory", ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "laboratory", "list", row_sum, *BARRIER]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "instantiated as row_sum_float" in result.stdout


def test_module_runs_as_a_shell_command() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "fusedops.sim", "--help"], capture_output=True, text=True, check=True
    )
    assert "python -m fusedops.sim" in result.stdout and "translate" in result.stdout
