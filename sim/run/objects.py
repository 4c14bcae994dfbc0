"""What compiled Metal text may ask of the host: nothing at load, and of all functions only those of Metal's semantics.

The compiler is asked for what it makes of the text, so no spelling of the text goes around this.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..errors import SimulatorError
from ..translate.lexer import tokens_of

# C's float functions, which metal/math.h calls by the names of the compiler's builtins.
_MATHEMATICS = (
    "acos|acosh|asin|asinh|atan|atan2|atanh|cbrt|ceil|copysign|cos|cosh|erf|exp|exp10|exp2|expm1|fabs|fdim|floor|"
    "fma|fmax|fmin|fmod|frexp|hypot|ldexp|log|log10|log1p|log2|modf|nearbyint|nextafter|pow|remainder|rint|round|"
    "roundeven|scalbn|sin|sincos|sinh|sqrt|tan|tanh|trunc"
)
_ALLOWED = re.compile(
    "msl_rt_(tg|simd|barrier|lane|warn|exponential|kernel|constant)|msl_register|mem(cpy|move|set|cmp)"
    "|__ubsan_handle_(type_mismatch_v1|out_of_bounds|divrem_overflow)|__tsan_[a-z0-9_]+"
    f"|({_MATHEMATICS})f"
    "|_GLOBAL_OFFSET_TABLE_|__stack_chk_(fail|guard)"
    "|__(extend|trunc|fix|fixuns|float|floatun|mul|div)[a-z]+[0-9]|__(u?div|u?mod|mul|pop|clz|ctz|bswap)[a-z]*[dt]i[0-9]?"
)
# Traces of code that runs when a library is loaded or unloaded: functions that compilers make, and ELF's sections. That
# which -fsanitize=thread makes by itself (with g++, with clang), to call its runtime, is none.
_AT_LOAD = re.compile("_GLOBAL__(sub_)?[ID]_.*|__cxx_global_(var_init|array_dtor).*")
_SECTIONS_AT_LOAD = re.compile(rb"[.](init_array|fini_array|preinit_array|ctors|dtors)(?![.](00099|0)\0)")


# What a macro of the host's headers could write that a text may not, pasted together or not.
_UNSAFE = re.compile(r"#|\b(asm|__asm|__asm__|__attribute|__attribute__|__declspec|_Pragma)\b")
_SUFFIX_PASTED = re.compile(r"## ?(U|L|UL|LL|ULL)\b")  # to a number, as INT64_MAX does
_SAFE_MACROS = frozenset({"is_function_constant_defined"})  # Metal's, which pastes __defined to a name


def check_text(text: str, preprocessor: tuple[str, ...]) -> None:
    """SimulatorError: a translation uses a macro of the host's headers that could write what Metal has not."""
    header, _, body = text.partition("\n")
    unsafe = _unsafe_macros(header, preprocessor)
    tokens = (token for token in tokens_of(body) if token.kind == "identifier" and token.text in unsafe)
    if findings := [f"{token.file}:{token.line}: error: '{token.text}' does not exist in Metal" for token in tokens]:
        raise SimulatorError("\n".join(findings))


@cache
def _unsafe_macros(header: str, preprocessor: tuple[str, ...]) -> frozenset[str]:
    """The macros behind a translation's first line that are unsafe, or that make use of one which is."""
    command = [*preprocessor, "-dM", "-E", "-x", "c++", "-"]
    result = subprocess.run(command, input=header, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SimulatorError(result.stderr.strip())
    macros = dict(re.findall(r"^#define (\w+)(.*)$", result.stdout, re.MULTILINE))
    unsafe = {name for name, value in macros.items() if _UNSAFE.search(_SUFFIX_PASTED.sub("", value))} - _SAFE_MACROS
    while more := {
        name for name, value in macros.items() if name not in unsafe and unsafe & {*re.findall(r"\w+", value)}
    }:
        unsafe |= more
    return frozenset(unsafe)


@dataclass(frozen=True)
class _Symbols:
    """What an object keeps to itself, what it has for others, and what it wants of others."""

    own: frozenset[str]
    defined: frozenset[str]
    undefined: frozenset[str]


def check_kernels(kernels: Path, runtime: Sequence[Path], text: str) -> None:
    """SimulatorError: an object made from `text` runs code at load, calls the host, or replaces a part of `runtime`."""
    symbols = _symbols(kernels)
    if any(map(_AT_LOAD.fullmatch, symbols.own)) or _SECTIONS_AT_LOAD.search(kernels.read_bytes()):
        raise SimulatorError(
            "error: a variable in global scope is not initialized by a constant expression, or has a destructor"
        )
    foreign = (name for name in symbols.undefined if not _ALLOWED.fullmatch(name))
    findings = [
        f"{_place(name, text)}error: '{_readable(name)}' is called, but Metal has no such function" for name in foreign
    ]
    taken = {name for file in runtime for name in _symbols_of_runtime(file)}
    replaced = symbols.defined & taken - {"msl_register"}
    findings += [
        f"{_place(name, text)}error: '{_readable(name)}' is a name of the simulator's own" for name in replaced
    ]
    if findings:
        raise SimulatorError("\n".join(sorted(findings)))


@cache
def _symbols_of_runtime(file: Path) -> frozenset[str]:
    symbols = _symbols(file)
    return symbols.defined | symbols.undefined


def _symbols(file: Path) -> _Symbols:
    """SimulatorError: there is no nm to list them."""
    for tool in ("nm", "llvm-nm"):
        try:
            result = subprocess.run([tool, "-P", file], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            continue
        if result.returncode:
            raise SimulatorError(f"{tool}: {result.stderr.strip()}")
        rows = list(_rows(result.stdout))
        undefined = frozenset(name for name, kind in rows if kind in "Uvw")
        own = frozenset(name for name, kind in rows if kind.islower()) - undefined
        return _Symbols(own, frozenset(name for name, _ in rows) - undefined - own, undefined)
    raise SimulatorError("there is no nm, which lists what compiled kernels ask for: install binutils")


def _rows(output: str) -> Iterator[tuple[str, str]]:
    """The name and the kind of each symbol; Mach-O puts an underscore before C's names."""
    for line in output.splitlines():
        name, kind, *_ = line.split()
        yield name.removeprefix("_") if sys.platform == "darwin" else name, kind


def _readable(name: str) -> str:
    try:
        result = subprocess.run(["c++filt", name], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return name
    return result.stdout.strip() or name


def _place(name: str, text: str) -> str:
    """`file:line: ` of the first mention of a function in a translation, if there is one."""
    identifier = re.match(r"[\w:]*?(\w+)(?:\(|$)", _readable(name))
    wanted = identifier[1] if identifier else name
    plain = (wanted, f"__builtin_{wanted}")
    return next((f"{token.file}:{token.line}: " for token in tokens_of(text) if token.text in plain), "")
