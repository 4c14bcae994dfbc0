"""LLVM IR made fit for SPIR-V, on small texts; no compiler is needed."""

import re

import pytest

from fusedops.sim.agx.ir import for_spirv, unresolved_generic_pointers, without_bfloat, without_generic_pointers


def body(text: str) -> list[str]:
    """The instructions of the first function."""
    found = re.search(r"^define [^\n]*\{\n(.*?)^\}", text, re.DOTALL | re.MULTILINE)
    assert found
    return [line.strip() for line in found[1].splitlines()]


def test_the_target_becomes_spirv() -> None:
    text = for_spirv(
        'target datalayout = "e-m:e-p270:32:32"\n'
        'target triple = "x86_64-unknown-linux-gnu"\n'
        'attributes #0 = { convergent "target-cpu"="x86-64" "target-features"="+sse2,+x87" "tune-cpu"="generic" }\n'
    )
    assert 'target triple = "spir64-unknown-unknown"' in text
    assert 'target datalayout = "e-i64:64-' in text
    assert "attributes #0 = { convergent }" in text
    assert "x86" not in text


@pytest.mark.parametrize(
    ("before", "after"),
    {
        "load": ("%x = load bfloat, ptr %p, align 2", "%x = load i16, ptr %p, align 2"),
        "vector": ("%x = load <4 x bfloat>, ptr %p, align 8", "%x = load <4 x i16>, ptr %p, align 8"),
        "constant": ("store bfloat 0xR3F80, ptr %p, align 2", "store i16 16256, ptr %p, align 2"),
        "extension": ("%y = fpext bfloat %x to float", "%y = call float @msl_from_bfloat_1(i16 %x)"),
        "truncation": ("%y = fptrunc float %x to bfloat", "%y = call i16 @msl_to_bfloat_1(float %x)"),
        "flags": ("%y = fpext nnan contract bfloat %x to float", "%y = call float @msl_from_bfloat_1(i16 %x)"),
        "vector extension": (
            "%y = fpext <3 x bfloat> %x to <3 x float>",
            "%y = call <3 x float> @msl_from_bfloat_3(<3 x i16> %x)",
        ),
        "vector truncation": (
            "%y = fptrunc <8 x float> %x to <8 x bfloat>",
            "%y = call <8 x i16> @msl_to_bfloat_8(<8 x float> %x)",
        ),
        "half": ("%y = fpext half %x to float", "%y = fpext half %x to float"),
    }.values(),
    ids=lambda value: value[:40],
)
def test_bfloat_becomes_an_integer(before: str, after: str) -> None:
    text = without_bfloat(f"define void @f() {{\n  {before}\n  ret void\n}}\n")
    assert body(text) == [after, "ret void"]


def test_conversions_of_the_widths_that_occur_are_added_once() -> None:
    text = without_bfloat(
        "define void @f() {\n"
        "  %a = fpext bfloat %x to float\n  %b = fpext bfloat %y to float\n"
        "  %c = fptrunc <2 x float> %z to <2 x bfloat>\n  ret void\n}\n"
    )
    defined = re.findall(r"^define internal (?:<\d x )?\w+>? @(\w+)", text, re.MULTILINE)
    assert defined == ["msl_from_bfloat_1", "msl_to_bfloat_1", "msl_from_bfloat_2", "msl_to_bfloat_2"]
    assert "splat (i32 32767)" in text  # of the vectors
    assert "add i32 %bits, 32767" in text  # of a number
    assert "fcmp uno float %x, 0.0" in text
    assert "N" not in text.replace("NaN", "")


def test_generic_pointers_become_private_ones() -> None:
    text = without_generic_pointers(
        "define void @f(ptr addrspace(1) %x) {\n"
        "  %p = alloca %struct.P, align 4\n"
        "  %g = addrspacecast ptr %p to ptr addrspace(4)\n"
        "  %h = addrspacecast ptr addrspace(1) %x to ptr addrspace(4)\n"
        "  call void @llvm.memcpy.p4.p4.i64(ptr addrspace(4) %g, ptr addrspace(4) align 4 %h, i64 8, i1 false)\n"
        "  call void @llvm.memcpy.p0.p1.i64(ptr align 4 %p, ptr addrspace(1) align 4 %x, i64 8, i1 false)\n"
        "  call void addrspacecast (ptr @h to ptr addrspace(4))(ptr addrspace(1) %x)\n"
        "  ret void\n}\n"
        "declare void @llvm.memcpy.p4.p4.i64(ptr addrspace(4), ptr addrspace(4), i64, i1 immarg) #2\n"
        "declare void @llvm.memcpy.p0.p1.i64(ptr, ptr addrspace(1), i64, i1 immarg) #2\n"
        "declare float @g(float)\n"
    )
    assert body(text) == [
        "%p = alloca %struct.P, align 4",
        "%g = bitcast ptr %p to ptr",
        "%h = addrspacecast ptr addrspace(1) %x to ptr",
        "call void @llvm.memcpy.p0.p0.i64(ptr %g, ptr align 4 %h, i64 8, i1 false)",
        "call void @llvm.memcpy.p0.p1.i64(ptr align 4 %p, ptr addrspace(1) align 4 %x, i64 8, i1 false)",
        "call void @h(ptr addrspace(1) %x)",
        "ret void",
    ]
    assert re.findall(r"^declare.*", text, re.MULTILINE) == ["declare float @g(float)"]


def test_a_module_without_generic_pointers_stays_as_it_is() -> None:
    text = "declare void @llvm.memcpy.p0.p1.i64(ptr, ptr addrspace(1), i64, i1 immarg)\n"
    assert without_generic_pointers(text) == text


def test_pointers_of_unknown_space_are_found_after_the_passes() -> None:
    resolved = "  %a = load float, ptr addrspace(1) %x, align 4\n"
    left = "  %b = addrspacecast ptr addrspace(3) %x to ptr\n"
    assert unresolved_generic_pointers(resolved) == []
    assert unresolved_generic_pointers(resolved + left) == ["addrspacecast ptr addrspace(3) %x to ptr"]
