"""Clang as a judge: it parses a translation as "C++ for OpenCL", which has Metal's address spaces under other names.

It finds what the simulator's host compiler cannot see: mistakes with address spaces, pointers without one, recursion,
and functions or conversions that Metal lacks.
"""

import ctypes
import importlib
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from ..errors import SimulatorError
from ..translate.preprocess import SHIM

_ARGUMENTS = [
    *("-x", "clcpp", "-cl-std=CLC++2021", "-cl-no-stdinc", "-cl-single-precision-constant"),
    *("--target=x86_64-linux-gnu", "-nostdinc", f"-I{SHIM / 'opencl'}", f"-I{SHIM}", "-ferror-limit=0", "-w"),
]
_METAL_SPACES = {"__global": "device", "__constant": "constant", "__private": "thread", "__local": "threadgroup"}
_GENERIC = 5  # libclang's number for the address space of `float* p`; Metal has no such space


def _cindex() -> ModuleType:
    """clang.cindex, imported late: nothing but the check needs it, and it comes without type hints."""
    try:
        cindex = importlib.import_module("clang.cindex")
        cindex.Index.create()
    except Exception as error:  # a missing module, or a libclang that does not load or is of another version
        raise SimulatorError(f"the static check needs libclang: pip install 'libclang>=18.1' ({error})") from error
    return cindex


def clang_findings(text: str) -> list[str]:
    """Findings in a translation for the target "opencl", as `file:line: what`. SimulatorError: libclang is missing."""
    return _Judge(_cindex()).findings(text)


class _Judge:
    def __init__(self, cindex: ModuleType):
        self.cindex = cindex
        kinds = cindex.CursorKind
        self.function_kinds = {
            kinds.FUNCTION_DECL,
            kinds.FUNCTION_TEMPLATE,
            kinds.CXX_METHOD,
            kinds.CONSTRUCTOR,
            kinds.CONVERSION_FUNCTION,
        }
        self.variable_kinds = {kinds.VAR_DECL, kinds.PARM_DECL, kinds.FIELD_DECL}
        self.pointer_kinds = {cindex.TypeKind.POINTER, cindex.TypeKind.LVALUEREFERENCE}
        self.calls: dict[str, dict[str, str]] = {}  # which function calls which, and where
        self.generic: list[str] = []

    def findings(self, text: str) -> list[str]:
        name = str(SHIM / "opencl" / "translation.clcpp")
        unit = self.cindex.Index.create().parse(name, args=_ARGUMENTS, unsaved_files=[(name, text)])
        error = self.cindex.Diagnostic.Error
        errors = [f"{self.origin(d)}: {_in_metal(d.spelling)}" for d in unit.diagnostics if d.severity >= error]
        self.visit(unit.cursor, None)
        return [*errors, *self.generic, *(f"{where}: recursion" for where in _cycles(self.calls))]

    def where(self, location: Any) -> str:
        """file:line by the line markers of the preprocessor, which the Python binding leaves out."""
        file, line, column = self.cindex._CXString(), ctypes.c_uint(), ctypes.c_uint()
        library = self.cindex.conf.lib
        library.clang_getPresumedLocation(location, ctypes.byref(file), ctypes.byref(line), ctypes.byref(column))
        name = library.clang_getCString(file)
        return f"{name.decode() if isinstance(name, bytes) else name}:{line.value}"

    def origin(self, diagnostic: Any) -> str:
        """Where a diagnostic is due: for one in our own header, the line that instantiated a template of it."""
        places = [self.where(place.location) for place in (diagnostic, *diagnostic.children)]
        return next((place for place in places if not place.startswith(str(SHIM))), places[0])

    def visit(self, cursor: Any, function: str | None) -> None:
        """Collect calls and generic pointers below a cursor; `function` is the one that it lies in."""
        for child in cursor.get_children():
            if child.kind in self.function_kinds:
                self.visit(child, child.get_usr())
                continue
            if function and child.kind is self.cindex.CursorKind.CALL_EXPR and child.referenced:
                self.calls.setdefault(function, {})[child.referenced.get_usr()] = self.where(child.location)
            if child.kind in self.variable_kinds and self.is_generic(child.type):
                where = self.where(child.location)
                if not where.startswith(str(SHIM)):
                    message = "a pointer or reference needs an address space (device, threadgroup, constant or thread)"
                    self.generic.append(f"{where}: '{child.spelling}': {message}")
            self.visit(child, function)

    def is_generic(self, type_: Any) -> bool:
        return type_.kind in self.pointer_kinds and type_.get_pointee().get_address_space() == _GENERIC


def _in_metal(message: str) -> str:
    """A message with Metal's names of the address spaces."""
    return re.sub("|".join(_METAL_SPACES), lambda match: _METAL_SPACES[match[0]], message.replace("__generic ", ""))


def _cycles(calls: dict[str, dict[str, str]]) -> Iterator[str]:
    """The calls that lead back to a function on the way to them."""
    path: set[str] = set()
    done: set[str] = set()

    def visit(function: str) -> Iterator[str]:
        path.add(function)
        for callee, where in calls.get(function, {}).items():
            if callee in path:
                yield where
            elif callee not in done:
                yield from visit(callee)
        path.discard(function)
        done.add(function)

    for function in list(calls):
        if function not in done:
            yield from visit(function)
