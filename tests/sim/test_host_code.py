"""Metal text that wants something of the host: nothing of it is loaded, and what is Metal still builds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kernels import HEAD

from fusedops.sim import SimulatorError, build, translate

# name: what stands before the kernel, what stands in it, and the message
REFUSED = {
    "constructor": ("__attribute__((constructor)) static void f() {}", "", "the attribute 'constructor'"),
    "attribute through a macro": (
        '#define X(a) __attribute__((unused, a))\nX(__section__(".init_array")) int f() { return 1; }',
        "",
        "the attribute '__section__'",
    ),
    "alias": ('int f() { return 1; }\nint g() __attribute((alias("_Z1fv")));', "", "the attribute 'alias'"),
    "ifunc": ('extern "C" int g() __attribute__((ifunc("f")));', "", "the attribute 'ifunc'"),
    "asm": ("", 'asm("nop");', "'asm' does not exist"),
    "__asm__": ("", '__asm__ volatile("nop");', "'__asm__' does not exist"),
    "__asm": ("", '__asm("nop");', "'__asm' does not exist"),
    "asm in global scope": ('asm(".globl f");', "", "'asm' does not exist"),
    "pasted asm": ("#define P(a, b) a##b", 'P(as, m)("nop");', "'asm' does not exist"),
    "asm behind a line splice": ("#define A() as\n#define B(x) x", 'A()B(\\)\nm("nop");', r"'\\' does not exist"),
    "asm behind a raw string": ("", 'R"(")"; asm("nop"); R"(")";', "unbalanced"),
    "raw string": ("", 'x[0] = sizeof(R"(a)");', """'R"' does not exist"""),
    "asm behind digits": ("", "int a = 0xf'a; int b = '\"'; asm(\"nop\"); b = '\"';", "'asm' does not exist"),
    "asm from a macro of the host": (
        "extern int __REDIRECT(f, (int), f; .quad 1; f);",
        "",
        "'__REDIRECT' does not exist",
    ),
    "asm pasted by a macro of the host": ("", '__CONCAT(as, m)("nop");', "'__CONCAT' does not exist"),
    "attribute behind an empty macro": (
        "__attribute__ MSL_FN ((constructor)) static void f() {}",
        "",
        "expected '\\(\\(' after '__attribute__'",
    ),
    "digraphs": ("<:<:gnu::constructor:>:> static void f() {}", "", "'<:' does not exist"),
    "directive from a macro": ("#define H #\nH include <stdlib.h>", "", "'#' does not exist"),
    "ident": ('#ident "a"', "", "'#ident \"a\"' does not exist"),
    "symbol's other name": (
        '#pragma redefine_extname f puts\nextern "C" int f(const char*);',
        'x[0] = f("");',
        "'f' is called, but Metal has no such function",
    ),
    "include of a system's header": ("#include <stdlib.h>", "", "stdlib.h"),
    "include by an absolute path": (
        "#include </etc/hostname>",
        "",
        "/etc/hostname lies outside of the source's folder",
    ),
    "include of a file elsewhere": ('#include "../../../../../../../../../etc/hostname"', "", "lies outside"),
    "host's function": (
        'extern "C" int system(const char*);',
        'x[0] = system("true");',
        "<metal>:3: error: 'system' is called, but Metal has no such function",
    ),
    "host's function at load": (
        'extern "C" int puts(const char*);\nconstant int written = puts("at load");',
        "x[0] = written;",
        "not initialized by a constant expression",
    ),
    "builtin": ("", '__builtin_printf("%f", x[0]);', "'printf' is called|'puts' is called"),
    "memory": ("", "x[0] = *(device float*)__builtin_malloc(4);", "'malloc' is called"),
    "global that is computed": (
        "float f(int n) { float a = 0; while (n--) a += sin(float(n)); return a; }\nconstant float computed = f(99);",
        "x[0] = computed;",
        "not initialized by a constant expression",
    ),
    "global with a destructor": (
        "struct S { int a; ~S() { a = 1; } }; static S s;",
        "x[0] = s.a;",
        "not initialized by a constant expression, or has a destructor",
    ),
    "static that is computed": ("int f(int n) { static int a = n; return a; }", "x[0] = f(int(x[0]));", "is called"),
    "function without a body": ("float f(float);", "x[0] = f(x[0]);", r"'f\(float\)' is called"),
    "storage of a host's thread": ("static __thread int a;", "x[0] = a++;", "'__thread' does not exist"),
    "the runtime's name": (
        'extern "C" const char* msl_run(const void*) { return "no findings"; }',
        "",
        "'msl_run' is a name of the simulator's own",
    ),
    "the runtime's namespace": (
        "namespace simulator { bool must_stop() { return true; } }",
        "",
        r"'simulator::must_stop\(\)' is a name of the simulator's own",
    ),
    "the runtime's memory": (
        'extern "C" void* _Znwm(unsigned long) { return 0; }',
        "",
        "is a name of the simulator's own",
    ),
}

# Metal that the above must not hit.
ACCEPTED = {
    "constants": (
        "constant float4 a = float4(1, 2, 3, 4);\nconstant float2 b[2] = {float2(1, 2), {3, 4}};\n"
        "struct P { float2 a; packed_float3 b; };\nconstant P c = {float2(1), float3(1, 2, 3)};\n"
        "constant half2 d = -half2(1) * 2;\nconstant bfloat e = bfloat(1.5f) + bfloat(2);",
        "int i = int(x[0]); x[0] = a[i + 3] + b[i + 1].x + c.b[i + 2] + d[i] + e;",
        4 + 3 + 3 - 2 + 3.5,
    ),
    "attributes": (
        "#define FUNCTION inline __attribute__((__always_inline__, unused))\nFUNCTION float f() { return 2; }\n"
        "struct __attribute__((packed)) S { char a; int b; };",
        "x[0] = f() + sizeof(S);",
        7,
    ),
    "builtins without a function": ("", "x[0] = __builtin_ctz(8) + __builtin_popcount(7u);", 6),
    "a static array": ("", "static constant float a[] = {5, 6}; x[0] = a[int(x[0]) + 1];", 6),
    "mathematics": ("", "x[0] = exp(x[0]) + pow(x[0] + 2, 3.0f) + fmod(x[0] + 5, 3.0f) + sin(x[0]);", 11),
    "C's linkage": ('extern "C" { float f(float a) { return a + 1; } }', "x[0] = f(x[0]);", 1),
    "namespaces": (
        "namespace a { inline namespace b { namespace { constant uint n [[function_constant(0)]];\n"
        "kernel void k(device float* x [[buffer(0)]]) { x[0] = n; } } } }",
        None,
        0,
    ),
}


def text_of(declarations: str, body: str | None) -> str:
    kernel = "" if body is None else f"\nkernel void k(device float* x [[buffer(0)]]) {{\n  {body}\n}}\n"
    return f"{HEAD}{declarations}{kernel}"


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    declarations, body, message = REFUSED[name]
    with pytest.raises(SimulatorError, match=message):
        build(text_of(declarations, body))


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name: str) -> None:
    declarations, body, expected = ACCEPTED[name]
    x: Any = np.zeros(1, np.float32)
    build(text_of(declarations, body)).run("k", [x], threads=(1,))
    assert x[0] == expected


@pytest.mark.parametrize("observer", [{"check": True}, {"count": True}], ids=["check", "count"])
def test_refused_with_an_observer(observer: dict[str, bool]) -> None:
    """The compiler's own instrumentation wants to run at load, which must not hide another's wish."""
    for name in ("host's function at load", "builtin"):
        declarations, body, message = REFUSED[name]
        with pytest.raises(SimulatorError, match=message):
            build(text_of(declarations, body), **observer)


def test_includes_from_the_folders_that_are_named(tmp_path: Path) -> None:
    source, library = tmp_path / "source", tmp_path / "library"
    for folder in (source, library):
        folder.mkdir()
    (library / "one.h").write_text("constant int one = 1;\n")
    (source / "kernel.metal").write_text('#include "../library/one.h"\n')
    with pytest.raises(SimulatorError, match=r"kernel.metal:1: .*one.h lies outside of the source's folder"):
        translate(source / "kernel.metal", "simulator")
    assert "one = 1" in translate(source / "kernel.metal", "simulator", include=[library]).text


@pytest.mark.parametrize("name", ["-fplugin=none.metal", "@options.metal"])
def test_a_file_is_no_option(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text("constant int one = 1;\n")
    assert "one = 1" in translate(Path(name), "simulator").text
