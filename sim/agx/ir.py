"""LLVM IR as clang leaves it for x86-64 made IR for SPIR-V: what clang's SPIR-V target would not compile, or not so.

The text of one module goes in, before any pass has run over it, and comes out, ready for `opt`.
"""

import re

_SPIRV = "e-i64:64-v16:16-v24:32-v32:32-v48:64-v96:128-v192:256-v256:256-v512:512-v1024:1024-G1"
_FOR_X86 = re.compile(r' "(?:target-cpu|target-features|tune-cpu|min-legal-vector-width)"="[^"]*"')

# Conversions between float and bfloat, N components at a time, by integers: M1 and M2 have no instruction for them. All
# NaN become one, all else is rounded to nearest even.
_CONVERSIONS = """
define internal <N x float> @msl_from_bfloat_N(<N x i16> %x) alwaysinline {
  %wide = zext <N x i16> %x to <N x i32>
  %bits = shl <N x i32> %wide, splat (i32 16)
  %y = bitcast <N x i32> %bits to <N x float>
  ret <N x float> %y
}

define internal <N x i16> @msl_to_bfloat_N(<N x float> %x) alwaysinline {
  %bits = bitcast <N x float> %x to <N x i32>
  %high = lshr <N x i32> %bits, splat (i32 16)
  %odd = and <N x i32> %high, splat (i32 1)
  %biased = add <N x i32> %bits, splat (i32 32767)
  %sum = add <N x i32> %biased, %odd
  %rounded = lshr <N x i32> %sum, splat (i32 16)
  %is_nan = fcmp uno <N x float> %x, zeroinitializer
  %chosen = select <N x i1> %is_nan, <N x i32> splat (i32 32704), <N x i32> %rounded
  %y = trunc <N x i32> %chosen to <N x i16>
  ret <N x i16> %y
}
"""
_FLAGS = r"(?:nnan |ninf |nsz |arcp |contract |afn |reassoc |fast )*"
_WIDTH = r"(?:<(\d+) x )?"
_EXTENSION = re.compile(rf"fpext {_FLAGS}{_WIDTH}bfloat>? (\S+) to (?:<\d+ x )?float>?")
_TRUNCATION = re.compile(rf"fptrunc {_FLAGS}{_WIDTH}float>? (\S+) to (?:<\d+ x )?bfloat>?")

_GENERIC = "addrspace(4)"
_CAST_TO_PRIVATE = re.compile(r"addrspacecast ptr (%[-\w.$]+) to ptr(?! addrspace)")
_CALLED = re.compile(r"addrspacecast \(ptr (@[-\w.$]+) to ptr\)")  # a function, by a generic pointer to it
_MEMORY_INTRINSIC = r"@llvm\.mem(?:cpy|move|set)[.\w]+"
_DECLARATION = re.compile(rf"^declare .*{_MEMORY_INTRINSIC}.*\n", re.MULTILINE)


def for_spirv(text: str) -> str:
    """The module with the target spir64, without bfloat and without generic pointers."""
    text = re.sub(r'target datalayout = ".*"', f'target datalayout = "{_SPIRV}"', text)
    text = re.sub(r'target triple = ".*"', 'target triple = "spir64-unknown-unknown"', text)
    return without_generic_pointers(without_bfloat(_FOR_X86.sub("", text)))


def without_bfloat(text: str) -> str:
    """The module with bfloat stored and moved as i16, and its conversions as calls of functions that are added.

    There is nothing else to do: clang computes with floats and rounds each result, since x86-64 has no such arithmetic
    either. Were there any, `opt` would refuse the module for an instruction of floats that is given integers.
    """
    widths: set[int] = set()

    def conversion(name: str, source: str, result: str, match: re.Match[str]) -> str:
        width = int(match[1] or 1)
        widths.add(width)
        return f"call {_vector(result, width)} @msl_{name}_bfloat_{width}({_vector(source, width)} {match[2]})"

    text = _EXTENSION.sub(lambda match: conversion("from", "bfloat", "float", match), text)
    text = _TRUNCATION.sub(lambda match: conversion("to", "float", "bfloat", match), text)
    text = re.sub(r"\b0xR([0-9A-Fa-f]{4})\b", lambda match: str(int(match[1], 16)), text)
    text = re.sub(r"\bbfloat\b", "i16", text)
    return text + "".join(map(_conversions, sorted(widths)))


def _vector(element: str, width: int) -> str:
    return element if width == 1 else f"<{width} x {element}>"


def _conversions(width: int) -> str:
    """The functions for a width; one component is no vector."""
    text = _CONVERSIONS.replace("N", str(width)) if width > 1 else _CONVERSIONS
    if width == 1:
        text = re.sub(r"<N x (\w+)>", r"\1", text)
        text = re.sub(r"splat \(i32 (\d+)\)", r"\1", text)
        text = text.replace("zeroinitializer", "0.0").replace("_N", "_1")
    return text


def without_generic_pointers(text: str) -> str:
    """The module with generic pointers as private ones, for LLVM's pass infer-address-spaces to mend.

    Clang makes generic pointers where it copies structs and calls their methods. Metal has none, so each comes from a
    pointer whose space is known once all is inlined, and the pass finds it. But it knows no generic space of spir64,
    only to take the default space, which is private, for generic (-assume-default-is-flat-addrspace).
    """
    if _GENERIC not in text:
        return text
    text = text.replace(f" {_GENERIC}", "")
    text = _CAST_TO_PRIVATE.sub(r"bitcast ptr \1 to ptr", text)
    text = _CALLED.sub(r"\1", text)
    text = re.sub(rf"^declare .*{_MEMORY_INTRINSIC}.*\n", "", text, flags=re.MULTILINE)
    return re.sub(_MEMORY_INTRINSIC, lambda match: re.sub(r"\.p4\b", ".p0", match[0]), text)


def unresolved_generic_pointers(text: str) -> list[str]:
    """The instructions of an optimised module that still make a private pointer of one to another space."""
    return re.findall(r"addrspacecast \(?ptr addrspace\(\d\) .* to ptr\)?$", text, re.MULTILINE)
