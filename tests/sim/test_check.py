"""What the static check rejects, a test for each kind of mistake, and what it accepts."""

import importlib
import re
from pathlib import Path

import pytest

from fusedops.sim import SimulatorError, check

GOLDEN = Path(__file__).parent / "golden"

# The declarations are in line 3, the body is in line 7.
TEMPLATE = """#include <metal_stdlib>
using namespace metal;
{declarations}
kernel void k(device float* x [[buffer(0)]], constant uint& n [[buffer(1)]], const device float* ro [[buffer(2)]],
              uint i [[thread_position_in_threadgroup]]) {{
  threadgroup float t[64];
  {body}
}}
"""

# name: declarations, body, the line and the message of the finding
MISTAKES = {
    "device to thread": ("", "thread float* p = x; p[0] = 1;", 7, "'thread float.* an lvalue of type 'device float"),
    "threadgroup to device": (
        "",
        "device float* p = t; p[0] = 1;",
        7,
        "'device float.* an lvalue of type 'threadgroup",
    ),
    "no address space": ("", "float* p = x; p[0] = 1;", 7, "'p': a pointer or reference needs an address space"),
    "no address space in a parameter": (
        "float f(const float* p) { return p[0]; }",
        "x[i] = f(x);",
        3,
        "'p': a pointer or reference needs an address space",
    ),
    "wrong argument": ("float f(const thread float* p) { return p[0]; }", "x[i] = f(t);", 7, "no matching function"),
    "reference argument": ("void f(thread float& p) { p = 1; }", "f(x[i]);", 7, "no matching function"),
    "write to constant": ("", "n = 1;", 7, "read-only variable"),
    "write to const device": ("", "ro[i] = 1;", 7, "read-only variable"),
    "cast to another space": ("", "x[i] = *(threadgroup float*)x;", 7, "mismatching address spaces"),
    "recursion": ("float f(float a) { return a < 1 ? a : f(a - 1); }", "x[i] = f(x[i]);", 3, "recursion"),
    "mutual recursion": (
        "float g(float a); float f(float a) { return g(a); } float g(float a) { return f(a); }",
        "x[i] = f(x[i]);",
        3,
        "recursion",
    ),
    "virtual": ("struct S { virtual void f(); };", "", 3, "'virtual' does not exist in Metal"),
    "throw": ("", "throw 1;", 7, "'throw' does not exist in Metal"),
    "double": ("", "double d = 1; x[i] = d;", 7, "'double' does not exist in Metal"),
    "function pointer": (
        "float f(float a) { return a; }",
        "float (*p)(float) = f; x[i] = p(1);",
        7,
        "pointers to functions",
    ),
    "components": ("", "float4 v = float4(1, 2, 3); x[i] = v.x;", 7, "wrong number of components"),
    "mixed vectors": (
        "",
        "float4 v = float4(1) + half4(1); x[i] = v.x;",
        7,
        "implicit conversions between vector types",
    ),
    "implicit vector conversion": ("", "half4 h = 1; float4 v = h; x[i] = v.x;", 7, "cannot initialize"),
    "printf": ("", 'printf("hi");', 7, "undeclared identifier 'printf'"),
    "erf": ("", "x[i] = erf(x[i]);", 7, "undeclared identifier 'erf'"),
    "half from bfloat": ("", "bfloat b = bfloat(1); half h = b; x[i] = h;", 7, "cannot initialize"),
    "ambiguous overload": ("", "half h = 1; x[i] = max(h, 1.0f);", 7, "ambiguous"),
    "64-bit SIMD-group sum": ("", "x[i] = simd_sum(ulong(i));", 7, "no matching function"),
    "threadgroup variable in a function": (
        "void f() { threadgroup float s[4]; s[0] = 1; }",
        "f();",
        3,
        "threadgroup variables may only be declared in a kernel",
    ),
    "parameter without an attribute": (
        "kernel void f(device float* y, uint i [[thread_position_in_grid]]) { y[i] = 1; }",
        "",
        3,
        r"dialect: parameter 'y' of kernel f needs an attribute such as \[\[buffer\(n\)\]\]",
    ),
    "not ASCII": ("// caf\N{LATIN SMALL LETTER E WITH ACUTE}", "", 3, "dialect: source must be ASCII"),
    "overload by address space": (
        "float f(const device float* p) { return p[0]; } float f(const threadgroup float* p) { return p[0]; }",
        "x[i] = f(x) + f(t);",
        3,
        "dialect: differs from an earlier declaration only in address spaces",
    ),
    "qualified method": (
        "struct S { float a; float f() const device { return a; } };",
        "",
        3,
        "dialect: method 'f' is qualified by an address space",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake(mistake: str) -> None:
    declarations, body, line, message = MISTAKES[mistake]
    found = check(TEMPLATE.format(declarations=declarations, body=body))
    assert any(re.match(f"<metal>:{line}: .*{message}", finding) for finding in found), found


def test_clean_text() -> None:
    assert check(TEMPLATE.format(declarations="", body="t[i] = ro[i]; x[i] = simd_sum(t[i]) + n;")) == []


@pytest.mark.parametrize("name", ["expressions", "function_constants", "templates", "threadgroup_memory"])
def test_clean_file(name: str) -> None:
    assert check(GOLDEN / f"{name}.metal") == []


def test_only_leaves_other_instantiations_out() -> None:
    text = """#include <metal_stdlib>
    using namespace metal;
    template <typename T> [[kernel]] void f(device T* x [[buffer(0)]]) { static_assert(sizeof(T) == 4, "too small"); }
    template [[host_name("f_float")]] [[kernel]] decltype(f<float>) f<float>;
    template [[host_name("f_half")]] [[kernel]] decltype(f<half>) f<half>;
    """
    assert check(text, only="f_float") == []
    assert any("too small" in finding for finding in check(text))


def test_finding_in_an_included_file(tmp_path: Path) -> None:
    (tmp_path / "part.h").write_text("\n\ninline float f(float* p) { return p[0]; }\n")
    file = tmp_path / "whole.metal"
    file.write_text('#include "part.h"\n')
    assert [finding.partition(" ")[0] for finding in check(file)] == [f"{tmp_path}/part.h:3:"]


def test_missing_libclang_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(SimulatorError, match=r"pip install 'libclang>=18\.1'"):
        check(GOLDEN / "templates.metal")
