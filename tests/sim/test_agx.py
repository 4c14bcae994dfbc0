"""Kernels compiled for Apple's GPUs. Tests that need the compiler are skipped where it is missing: docs/agx.md."""

import os
from pathlib import Path

import numpy as np
import pytest
from agx_compiler import RECORDED, need_compiler

import fusedops
from fusedops.sim import SimulatorError, translate
from fusedops.sim.agx import KernelCode, find_tools, plan_registers, registers, settings
from fusedops.sim.command import main

HEADER = "#include <metal_stdlib>\nusing namespace metal;\n"
SCALE = (
    HEADER
    + """
constant bool doubled [[function_constant(0)]];
kernel void scale(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  x[i] = (doubled ? 2 : 1) * x[i] + 1;
}
"""
)
# Sums over a loop, through threadgroup memory; T is any type.
SUMS = (
    HEADER
    + """
template <typename T>
kernel void sums(device const T* x [[buffer(0)]], device T* y [[buffer(1)]], constant int& n [[buffer(2)]],
                 uint i [[thread_position_in_grid]], uint lane [[thread_index_in_simdgroup]],
                 uint simdgroup [[simdgroup_index_in_threadgroup]]) {
  threadgroup float partial[32];
  float sum = 0;
  for (int j = 0; j < n; ++j) sum += exp2(float(x[j * 1024 + i]));
  partial[simdgroup] = simd_sum(sum);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  y[i] = T(partial[lane]);
}
template [[host_name("sums_float")]] [[kernel]] decltype(sums<float>) sums<float>;
template [[host_name("sums_bfloat")]] [[kernel]] decltype(sums<bfloat>) sums<bfloat>;
"""
)
PRODUCT = (
    HEADER
    + """
kernel void product(device const half* a [[buffer(0)]], device const half* b [[buffer(1)]],
                    device float* c [[buffer(2)]], constant int& n [[buffer(3)]]) {
  simdgroup_matrix<float, 8, 8> sum = simdgroup_matrix<float, 8, 8>(0);
  for (int i = 0; i < n; ++i) {
    simdgroup_matrix<half, 8, 8> x, y;
    simdgroup_load(x, a + 8 * i, 8 * n);
    simdgroup_load(y, b + 64 * i, 8, 0, true);
    simdgroup_multiply_accumulate(sum, x, y, sum);
  }
  simdgroup_store(sum, c, 8);
}
"""
)


def test_what_clang_would_not_take_is_written_otherwise() -> None:
    """MLX's headers have such: an offset that is an object, and a constructor for the address space `thread`."""
    text = translate(
        f"""{HEADER}
struct Pair {{
  float a, b;
  constexpr Pair(float x) thread : a(x), b(x) {{}}
  float sum() const thread {{ return a + b; }}
}};
kernel void k(device float* x [[buffer(0)]], constant long& stride [[buffer(1)]]) {{
  x += stride * stride;
  x += 2 * stride;
  *x = Pair(1).sum();
}}
""",
        "agx",
    ).text
    assert "x += msl_number(stride * stride);" in text
    assert "x += 2 * stride;" in text
    assert "constexpr Pair(float x)  : a(x), b(x) {}" in text
    assert "float sum() const __private {" in text


def summary(code: KernelCode) -> tuple[int, ...]:
    return code.instructions, code.code_bytes, code.registers, code.threads, code.spills, code.fills


@pytest.mark.parametrize(
    ("text", "kernel", "expected", "loops"),
    [
        (SCALE, "scale", (8, 58, 3, 1024, 0, 0), []),
        (SUMS, "sums_float", (30, 318, 13, 1024, 0, 0), [(9, 1, 0, 0, 15)]),
        (SUMS, "sums_bfloat", (37, 368, 13, 1024, 0, 0), [(10, 1, 0, 0, 19)]),
        (PRODUCT, "product", (73, 628, 35, 1024, 0, 0), [(39, 3, 0, 1, 86)]),
    ],
    ids=["scale", "sums_float", "sums_bfloat", "product"],
)
def test_recorded_statistics(text: str, kernel: str, expected: tuple[int, ...], loops: list[tuple[int, ...]]) -> None:
    need_compiler(RECORDED)
    code = registers(text, kernel)
    assert summary(code) == expected
    found = [
        (loop.instructions, loop.device_loads, loop.threadgroup_loads, loop.matrix_operations, loop.issue_cycles)
        for loop in code.loops
    ]
    assert found == loops


def test_constants_are_compiled_in() -> None:
    need_compiler()
    once, twice = (registers(SCALE, "scale", constants={"doubled": value}) for value in (False, True))
    assert once.instructions <= twice.instructions
    with pytest.raises(SimulatorError, match="there is no function constant 'no_such'"):
        registers(SCALE, "scale", constants={"no_such": 1})


def test_the_bound_of_threads_bounds_registers() -> None:
    need_compiler()
    columns = "\n".join(f"  const float v{i} = x[{i} * n + i0];" for i in range(96))
    sums = " + ".join(f"v{i} * v{95 - i}" for i in range(96))
    text = f"""{HEADER}
kernel void many(device const float* x [[buffer(0)]], device float* y [[buffer(1)]], constant int& n [[buffer(2)]],
                 uint i0 [[thread_position_in_grid]]) {{
{columns}
  threadgroup_barrier(mem_flags::mem_device);
  y[i0] = {sums};
}}
"""
    unbounded, bounded = registers(text, "many"), registers(text, "many", most_threads=1024)
    assert unbounded.spills == 0
    assert unbounded.registers > 104
    assert unbounded.threads < 1024
    assert bounded.registers <= 104
    assert bounded.threads == 1024


def test_an_array_that_llvm_leaves() -> None:
    need_compiler()
    text = (
        HEADER
        + """
kernel void gather(device const int* x [[buffer(0)]], device int* y [[buffer(1)]],
                   uint i [[thread_position_in_grid]]) {
  int table[64];
  for (int j = 0; j < 64; ++j) table[j] = x[j];
  y[i] = table[x[i] & 63];
}
"""
    )
    assert registers(text, "gather").arrays == 1


def test_a_plan() -> None:
    need_compiler()
    plan = fusedops.explain("gelu", np.zeros((4, 64), np.float32)).plan
    codes = plan_registers(plan)
    assert list(codes) == [launch.name for launch in plan.launches]
    assert all(code.instructions > 0 for code in codes.values())


def test_what_the_shim_does_not_define_is_named() -> None:
    need_compiler()
    text = HEADER + "kernel void k(device float* x [[buffer(0)]]) { x[0] = sinh(x[0]); }"
    with pytest.raises(SimulatorError, match=r"agx does not have metal::sinh"):
        registers(text, "k")


def test_what_clang_refuses_is_told_with_its_line() -> None:
    need_compiler()
    text = HEADER + "kernel void k(device float* x [[buffer(0)]]) {\n  thread float* p = x;\n}"
    with pytest.raises(SimulatorError, match=r"clang fails.*<metal>:4"):
        registers(text, "k")


def test_no_such_kernel() -> None:
    need_compiler()
    with pytest.raises(SimulatorError, match="there is no kernel 'none'"):
        registers(SCALE, "none")


@pytest.fixture
def sums(tmp_path: Path) -> str:
    path = tmp_path / "sums.metal"
    path.write_text(SUMS)
    return str(path)


def test_the_command_shows_all_kernels(sums: str, capsys: pytest.CaptureFixture[str]) -> None:
    need_compiler()
    assert main(["registers", sums]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("sums")] == ["sums_float", "sums_bfloat"]
    assert "half-registers of 256" in lines[1]
    assert "0:0 spills:fills" in lines[2]
    assert lines[3].split()[:2] == ["loop", "instructions"]
    assert lines[-1].startswith(settings(find_tools()))


def test_the_command_compares_two_kernels(sums: str, capsys: pytest.CaptureFixture[str]) -> None:
    need_compiler()
    assert main(["registers", sums, "sums<float>", "--compare", sums, "sums_bfloat", "--threads", "512"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["sums<float>", "sums_bfloat", "ratio"]
    words, left, right, ratio = lines[1].rsplit(maxsplit=3)
    assert words.strip() == "instructions"
    assert ratio == f"{int(left) / int(right):.2f}"
    assert main(["registers", sums, "--compare", sums, "sums_bfloat"]) == 1
    assert "--compare takes one KERNEL" in capsys.readouterr().err


def test_the_command_takes_kernels_of_mlx(capsys: pytest.CaptureFixture[str]) -> None:
    need_compiler()
    pytest.importorskip("mlx.core")
    assert main(["registers", "mlx:sdpa_vector.h", "sdpa_vector<half, 64, 64>"]) == 0
    assert "sdpa_vector<half,64,64>" in capsys.readouterr().out


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that alone is on the path."""
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("FUSEDOPS_AGX_LLVM", "FUSEDOPS_AGX_ASAHI_CLC"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def program(folder: Path, name: str, answer: str = "") -> None:
    (folder / name).write_text(f"#!/bin/sh\necho '{answer}'\n")
    os.chmod(folder / name, 0o755)


def test_a_missing_compiler_is_told_in_plain_words(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SimulatorError, match=r"no clang, opt and llvm-spirv of one LLVM on the path.*docs/agx\.md"):
        find_tools()
    for name in ("clang", "opt", "llvm-spirv"):
        program(path, name, "Some clang version 18.1.0")
    with pytest.raises(SimulatorError, match=r"is of LLVM 18\.1\.0, which is older than 19; docs/agx\.md"):
        find_tools()
    for name in ("clang-20", "opt-20", "llvm-spirv-20"):
        program(path, name, "clang version 20.1.2")
    with pytest.raises(SimulatorError, match=r"there is no asahi_clc.*docs/agx\.md"):
        find_tools()
    program(path, "asahi_clc")
    tools = find_tools()
    assert (Path(tools.clang).name, tools.llvm_version, tools.has_matrix_instruction) == ("clang-20", "20.1.2", False)
    program(path, "asahi_clc-matrix")
    assert find_tools().has_matrix_instruction
    monkeypatch.setenv("FUSEDOPS_AGX_ASAHI_CLC", "no-such-program")
    with pytest.raises(SimulatorError, match="FUSEDOPS_AGX_ASAHI_CLC names no-such-program, which is no program"):
        find_tools()


def test_llvm_in_a_folder_that_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = path / "llvm"
    folder.mkdir()
    monkeypatch.setenv("FUSEDOPS_AGX_LLVM", str(folder))
    with pytest.raises(SimulatorError, match="which FUSEDOPS_AGX_LLVM names"):
        find_tools()
    for name in ("clang", "opt", "llvm-spirv"):
        program(folder, name, "clang version 19.1.7")
    program(path, "asahi_clc")
    assert find_tools().opt == str(folder / "opt")


def test_the_command_tells_it_too(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["registers", "mlx:sdpa_vector.h"]) == 1
    assert "docs/agx.md" in capsys.readouterr().err
