"""What the translator writes: golden files, and the mistakes that it names.

FUSEDOPS_REGENERATE_GOLDEN=1 writes the golden files anew; read the difference before committing it.
"""

import difflib
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fusedops.sim import SimulatorError, build, check, translate
from fusedops.sim.compiler import host_compiler
from fusedops.sim.translate.cuda import entry_point
from fusedops.sim.translate.preprocess import SHIM

GOLDEN = Path(__file__).parent / "golden"
SUFFIXES = {"simulator": ".simulator.cpp", "cuda": ".cu", "opencl": ".opencl.cpp", "agx": ".agx.cpp"}
KERNEL = "kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) { x[i] = 1; }\n"


def readable(text: str) -> list[str]:
    """The lines of a translation without line markers, which hold this machine's paths, and without empty lines."""
    return [line.rstrip() for line in text.splitlines() if line.strip() and not line.startswith("# ")]


@pytest.mark.parametrize("target", SUFFIXES)
@pytest.mark.parametrize("source", sorted(GOLDEN.glob("*.metal")), ids=lambda path: path.stem)
def test_golden(source: Path, target: str) -> None:
    golden = source.with_suffix(SUFFIXES[target])
    lines = readable(translate(source, target).text)
    if os.environ.get("FUSEDOPS_REGENERATE_GOLDEN"):
        golden.write_text("\n".join(lines) + "\n")
    expected = golden.read_text().splitlines()
    difference = "\n".join(difflib.unified_diff(expected, lines, golden.name, "translated now", lineterm=""))
    assert not difference, f"\n{difference}\nFUSEDOPS_REGENERATE_GOLDEN=1 accepts this"


@pytest.mark.parametrize("source", sorted(GOLDEN.glob("*.metal")), ids=lambda path: path.stem)
def test_golden_compiles(source: Path) -> None:
    text = translate(source, "simulator").text
    command = [host_compiler(), "-x", "c++", "-std=gnu++17", "-fsyntax-only", "-w", f"-I{SHIM}", "-"]
    assert not subprocess.run(command, input=text, capture_output=True, text=True, check=False).stderr


@pytest.mark.parametrize("function", [build, check, translate])
def test_no_text(function: Callable[..., object]) -> None:
    arguments = ("simulator",) if function is translate else ()
    for source in (KERNEL.encode(), None):
        with pytest.raises(TypeError, match="source must be a Path, or Metal text as a str, got"):
            function(source, *arguments)
    with pytest.raises(SimulatorError, match="the text has surrogates"):
        function(KERNEL + "\ud800", *arguments)


def test_a_compiler_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUSEDOPS_SIM_CXX", "no-such-compiler")
    with pytest.raises(SimulatorError, match="FUSEDOPS_SIM_CXX names no-such-compiler, which is no program"):
        build(KERNEL)


@pytest.mark.parametrize("target", SUFFIXES)
def test_names_kernels_and_constants(target: str) -> None:
    assert translate(GOLDEN / "templates.metal", target).kernels == (
        "scale_half",
        "scale_float",
        "negate_int",
        "negate_uint",
    )
    assert translate(GOLDEN / "function_constants.metal", target).constants == ("window_length", "has_window")


def test_constants_are_compiled_in_for_cuda_and_agx_only() -> None:
    source = GOLDEN / "function_constants.metal"
    translation = translate(source, "cuda", constants={"has_window": True})
    assert translation.constants == ()
    assert "constexpr bool has_window = true;" in translation.text
    assert "constexpr bool window_length__defined = false;" in translation.text
    translation = translate(source, "agx", constants={"has_window": True})
    assert translation.constants == ()
    assert "bool has_window  = bool(true);" in translation.text
    assert "constexpr bool window_length__defined = false;" in translation.text
    with pytest.raises(SimulatorError, match="there is no function constant 'no_such'"):
        translate(source, "cuda", constants={"no_such": 1})
    with pytest.raises(SimulatorError, match="constants: simulator takes them at each launch"):
        translate(source, "simulator", constants={})


@pytest.mark.parametrize("target", SUFFIXES)
def test_only_keeps_what_matches_as_a_whole(target: str) -> None:
    translation = translate(GOLDEN / "templates.metal", target, only="scale_.*|negate_i")
    assert translation.kernels == ("scale_half", "scale_float")
    assert '"negate_uint"' not in translation.text and "msl_negate" not in translation.text


def test_line_markers_survive() -> None:
    lines = translate(KERNEL + "\n\nconstant int here = 1;\n", "simulator").text.splitlines()
    marker = max(i for i, line in enumerate(lines) if line.startswith("# ") and '"<metal>"' in line)
    first = int(lines[marker].split()[1])
    declaration = next(i for i, line in enumerate(lines) if "here" in line)
    assert first + declaration - marker - 1 == 4


def test_includes_and_macros(tmp_path: Path) -> None:
    (tmp_path / "values.h").write_text("constant int value = VALUE;\n")
    text = '#include "values.h"\n#if __METAL_VERSION__ == 320\nconstant int newer = 1;\n#endif\n'
    assert "newer" not in translate(text, "simulator", include=[tmp_path], defines=["VALUE=7"]).text
    translated = translate(text, "simulator", include=[tmp_path], defines=["VALUE=7", "__METAL_VERSION__=320"]).text
    assert "int value = 7;" in translated and "newer" in translated


@pytest.mark.parametrize(
    ("text", "message"),
    {
        "brackets": ("void f() { (1]; }", r"<metal>:1: unbalanced '\]'"),
        "open bracket": ("\nvoid f() {", r"<metal>:2: unbalanced '\{'"),
        "angle": ("template <typename T void f();", "<metal>:1: unbalanced '<'"),
        "missing include": ('#include "nowhere.h"', "nowhere.h"),
        "C++ that Metal lacks": ("void f() { throw 1; }", "<metal>:1: 'throw' does not exist in Metal"),
        "unknown attribute": (
            "kernel void k(uint i [[thread_position_in_galaxy]]) {}",
            "parameter 'i' of kernel k: no address space and no attribute known here .found thread_position_in_galaxy",
        ),
        "threadgroup variable": (
            "void f() {\n  threadgroup float x[4];\n}",
            "<metal>:2: threadgroup variables may only be declared in a kernel function",
        ),
        "initialized threadgroup variables": (
            "kernel void k() { threadgroup int a = 1, b; }",
            "several threadgroup variables with an initializer",
        ),
    }.values(),
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(SimulatorError, match=message):
        translate(text, "simulator")


TEMPLATE = "template <typename T> kernel void k(device T* x [[buffer(0)]]) { x[0] = 1; }\n"


@pytest.mark.parametrize(
    "written",
    [
        *(r'"a\tb"', r'"a\nb"', r'"a\0b"', r'"k\tx:0:0"', r'"a\"b"', r'"\\"', r'"\x41"', '"a\tb"', '""'),
        *('"\N{LATIN SMALL LETTER E WITH ACUTE}"', 'L"a"', 'u8"a"', 'R"(a)"', "'a'", "a", "1"),
    ],
)
def test_host_names_that_are_no_names(written: str) -> None:
    text = f"{TEMPLATE}template [[host_name({written})]] kernel void k<float>(device float*);\n"
    for target in SUFFIXES:
        with pytest.raises(SimulatorError, match="<metal>:2: "):
            translate(text, target)


def test_host_names_may_hold_whatever_is_printable() -> None:
    literals = """"k:0:0 'x' <a, b> ?*("
        "%s" """
    text = f"""{TEMPLATE}
    template [[host_name({literals})]] kernel void k<float>(device float*);
    [[host_name("name")]] kernel void other(device float* x [[buffer(0)]]) {{}}"""
    assert translate(text, "simulator").kernels == ("k:0:0 'x' <a, b> ?*(%s", "name")
    assert set(build(text).kernels) == {"k:0:0 'x' <a, b> ?*(%s", "name"}


@pytest.mark.parametrize("target", SUFFIXES)
def test_a_host_name_is_that_of_one_kernel(target: str) -> None:
    once = f'{TEMPLATE}template [[host_name("a")]] kernel void k<float>(device float*);\n'
    other = 'template [[host_name("a")]] kernel void k<int>(device int*);\n'
    assert translate(once + once.splitlines()[1], target).kernels == ("a",)
    for second in (other, "kernel void a(device float* x [[buffer(0)]]) {}\n"):
        with pytest.raises(SimulatorError, match="<metal>:3: host name 'a' is that of another kernel, too"):
            translate(once + second, target)


def test_names_of_cuda_kernels_differ() -> None:
    names = ["f<float>", "f_float_", "f(float)", "f float "]
    assert len({entry_point(name) for name in names}) == len(names)
    assert all(re.fullmatch(r"\w+", entry_point(name)) for name in names)


@pytest.mark.parametrize("index", ["31", "- 1", "n", "1.5", "1 << 40", "4294967296"])
def test_indices_beyond_the_limit(index: str) -> None:
    with pytest.raises(SimulatorError, match=f"<metal>:1: index {index}: expected a number from 0 to 30"):
        translate(f"kernel void k(device float* x [[buffer({index})]]) {{}}", "simulator")


def test_several_mistakes_at_once() -> None:
    with pytest.raises(SimulatorError) as caught:
        translate("void f() { double x; }\nvoid g() { goto a; }", "cuda")
    assert str(caught.value).splitlines() == [
        "<metal>:1: 'double' does not exist in Metal",
        "<metal>:2: 'goto' does not exist in Metal",
    ]


def test_unknown_target_and_missing_file() -> None:
    with pytest.raises(SimulatorError, match="simulator, cuda, opencl, agx"):
        translate(KERNEL, "vulkan")
    with pytest.raises(SimulatorError, match=r"nowhere\.metal: no such file"):
        translate(Path("nowhere.metal"), "simulator")
