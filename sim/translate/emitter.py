"""What the emitters of all targets share: they replace tokens of the source and append to them."""

import re
from collections.abc import Iterator, Mapping
from typing import ClassVar

from .declarations import (
    ADDRESS_SPACES,
    Class,
    Declaration,
    Function,
    FunctionConstant,
    Instantiation,
    Kernel,
    ThreadgroupVariable,
    Unit,
)
from .lexer import Token, is_line_marker

# Metal Shading Language Specification, section 1.5.4, and `std`: Metal's library is in `metal`.
_FORBIDDEN = frozenset(
    {"asm", "catch", "delete", "double", "dynamic_cast", "goto", "new", "std", "thread_local", "throw", "try", "typeid"}
    | {"__asm", "__asm__", "__declspec", "__thread", "_Pragma"}
    | {"virtual"}
)
# Attributes in GNU's notation that say something about a kernel's own code. Others reach the linker or the loader.
_ATTRIBUTES = frozenset(
    {"aligned", "always_inline", "cold", "const", "deprecated", "flatten", "hot", "may_alias", "noinline", "packed"}
    | {"pure", "unused"}
)
# What another lexer could read otherwise: raw strings, digraphs, and what is left of line splices and directives.
_AMBIGUOUS = frozenset({"<:", ":>", "<%", "%>", "%:", "#", "\\", '"', "'"})
_SMALL_FLOAT_LITERAL = re.compile(r"([\d.']+(?:[eE][+-]?\d+)?)(h|H|bf|BF)")
_SWIZZLE = re.compile("[xyzw]{2,4}|[rgba]{2,4}")
_ASSIGNMENTS = frozenset({"=", "+=", "-=", "*=", "/="})


Value = bool | int | float  # of a function constant


class Emitter:
    """Rewrites a unit in place, once. Subclasses say how each kind of declaration is written for their target."""

    header = ""  # in shim/, included first
    opening, closing = "", ""  # around the whole text
    space_names: ClassVar[dict[str, str]] = {}  # what an address space is called; nothing by default
    merges_address_spaces = True  # overloads that differ only in their address spaces become one

    constants: Mapping[str, Value] | None = None  # function constants that are compiled in, if given

    def __init__(self, unit: Unit, only: str | None = None):
        """`only` is a regular expression: other kernels are not registered."""
        self.source = unit.source
        self.unit = unit
        self.only = re.compile(only) if only else None
        self.errors = list(unit.errors)
        self.kernels: list[str] = []
        self.appendix: list[str] = []
        self.merged: list[Declaration] = []
        self._seen: dict[tuple[str, bool, str], bool] = {}
        self._functions: dict[str, tuple[str, str]] = {}  # by host name
        self._field_names = set(self._fields(unit.declarations))
        self._serial = 0

    # --- to be defined by the targets

    def kernel(self, kernel: Kernel) -> None:
        """Describe a kernel, and register it unless it is a template."""
        raise NotImplementedError

    def function(self, function: Function) -> None:
        """A function that is no kernel stays as it is."""

    def threadgroup_variable(self, variable: ThreadgroupVariable) -> None:
        raise NotImplementedError

    def function_constant(self, constant: FunctionConstant) -> None:
        raise NotImplementedError

    def variable(self, declaration: Declaration) -> None:
        """A global or any other declaration stays as it is."""

    def instantiation(self, instantiation: Instantiation) -> None:
        raise NotImplementedError

    def member(self, index: int) -> None:
        """An identifier after `.` or `->`."""

    def value(self, index: int) -> None:
        """Any other identifier."""

    def pragma(self, text: str) -> str:
        """What becomes of a pragma: dropped, they are hints to Apple's compiler."""
        return ""

    def unrolling(self, text: str) -> str:
        """A pragma that asks for unrolling, in the words that nvcc and clang both know; others are dropped."""
        return "#pragma unroll" if "unroll" in text and "disable" not in text else ""

    # --- the whole unit

    def emit(self) -> str:
        """The translated text; `kernels`, `errors` and `merged` are complete afterwards."""
        self._rewrite_address_spaces()
        self._declarations(self.unit.declarations)
        self._rewrite_expressions()
        body = "".join(self._written(token) for token in self.source.all_tokens)
        appendix = "".join(line + "\n" for line in self.appendix)
        return f'#include "{self.header}"\n{self.opening}{body}\n{appendix}{self.end()}{self.closing}'

    def end(self) -> str:
        """What a target wants after the text."""
        return ""

    def _written(self, token: Token) -> str:
        if token.kind == "directive" and not is_line_marker(token):
            if re.match(r"\s*#\s*pragma\b", token.text):
                return self.pragma(token.text)
            self.errors.append(f"{token.file}:{token.line}: '{token.text.strip()}' does not exist in Metal")
        return token.before + token.code + token.after

    def _declarations(self, declarations: list[Declaration]) -> None:
        for declaration in declarations:
            if declaration.member_specialization:  # g++ before 14 rejects it: an overload does the same
                self.blank(declaration.start, declaration.start + 3)
            if self.merges_address_spaces and self._is_merged(declaration):
                self.blank(declaration.start, declaration.stop)
                self.merged.append(declaration)
            else:
                self._declaration(declaration)

    def _declaration(self, declaration: Declaration) -> None:
        match declaration:
            case Class():
                self._declarations(declaration.members)
            case Function():
                for variable in declaration.threadgroup_variables:
                    if variable.initializer is not None:  # Metal leaves threadgroup memory uninitialized
                        self.blank(variable.initializer, variable.stop)
                    self.threadgroup_variable(variable)
                if isinstance(declaration, Kernel):
                    self.kernel(declaration)
                else:
                    self.function(declaration)
            case FunctionConstant():
                self.function_constant(declaration)
            case Instantiation():
                if declaration.host_name:
                    self.instantiation(declaration)
            case _:
                self.variable(declaration)

    def _is_merged(self, declaration: Declaration) -> bool:
        """Whether an earlier declaration is the same once address spaces are gone."""
        if isinstance(declaration, Instantiation):
            return False
        words = self.source.tokens[declaration.start : declaration.head]
        has_spaces = any(token.text in ADDRESS_SPACES for token in words)
        key = (declaration.scope, declaration.defines, self.plain(declaration.start, declaration.head))
        if key in self._seen and (has_spaces or self._seen[key]):
            return True
        self._seen[key] = has_spaces
        return False

    # --- tokens

    def blank(self, start: int, stop: int) -> None:
        for token in self.source.tokens[start:stop]:
            token.code = ""

    def before(self, index: int, text: str) -> None:
        self.source.tokens[index].before += text

    def after(self, index: int, text: str) -> None:
        self.source.tokens[index].after += text

    def plain(self, start: int, stop: int) -> str:
        """The tokens without attributes and with the target's address spaces."""
        words = []
        while start < stop:
            if self.source.is_attribute(start):
                start = self.source.past(start)
            else:
                words.append(self.source.tokens[start].code)
                start += 1
        return " ".join(filter(None, words))

    def next_number(self) -> int:
        """A number for a name that nothing else has."""
        self._serial += 1
        return self._serial

    def take_alignment(self, variable: ThreadgroupVariable) -> str:
        """Remove a variable's `alignas(...)`, which no typedef takes, and return it."""
        if variable.alignment is None:
            return ""
        stop = self.source.past(variable.alignment + 1)
        text = self.plain(variable.alignment, stop)
        self.blank(variable.alignment, stop)
        return text

    def is_wanted(self, kernel: Kernel | Instantiation) -> bool:
        """Whether `only` keeps this kernel; if so it joins `kernels`. An instantiation may be repeated."""
        name = kernel.host_name
        if self.only is not None and not self.only.fullmatch(name):
            return False
        function = self.source.text(kernel.start, kernel.stop)
        if name in self._functions:
            if self._functions[name] != (kernel.scope, function):
                self.errors.append(
                    f"{self.source.where(kernel.start)}: host name '{name}' is that of another kernel, too"
                )
            return False
        self._functions[name] = kernel.scope, function
        self.kernels.append(name)
        return True

    def _rewrite_address_spaces(self) -> None:
        source = self.source
        for index, token in enumerate(source.tokens):
            if token.text == "coherent":  # `coherent` or `coherent(device)`
                self.blank(index, source.past(index + 1) if source[index + 1] == "(" else index + 1)
            elif token.text in ADDRESS_SPACES:
                token.code = self.space_names.get(token.text, "")
                if token.text == "constant" and not token.code and not self._is_const(index):
                    token.code = "const"

    def _is_const(self, index: int) -> bool:
        """Whether `constant` needs no `const` in its place: the type has one, or it qualifies a method."""
        source, specifiers = self.source, {"const", "constexpr", "static", "inline", "volatile", "constant"}
        if source[index - 1] == ")":
            return True
        first = last = index
        while source[first - 1] in specifiers:
            first -= 1
        while source[last + 1] in specifiers:
            last += 1
        words = source.tokens[first : last + 1]
        return any(token.text in ("const", "constexpr") or token.code == "const" for token in words)

    def _rewrite_expressions(self) -> None:
        source = self.source
        for index, token in enumerate(source.tokens):
            if token.kind == "raw" or token.text in _AMBIGUOUS:
                self.errors.append(f"{source.where(index)}: '{token.text}' does not exist in Metal")
            if not token.code:
                continue
            if token.kind == "identifier":
                self._identifier(index, token)
            elif token.kind == "number":
                token.code = _small_float_literal(token.code)
            elif source.is_attribute(index):
                self.blank(index, source.past(index))

    def _identifier(self, index: int, token: Token) -> None:
        if token.text in _FORBIDDEN:
            self.errors.append(f"{self.source.where(index)}: '{token.text}' does not exist in Metal")
        if token.text in ("__attribute", "__attribute__"):
            self._check_attributes(index)
        if token.text in ("kernel", "restrict"):
            token.code = ""
        elif self.source[index - 1] in (".", "->"):
            self.member(index)
        else:
            self.value(index)

    def _check_attributes(self, index: int) -> None:
        """`__attribute__((name, name(arguments)))`."""
        source = self.source
        inner = index + 2
        if source[index + 1] != "(" or source[inner] != "(":
            self.errors.append(f"{source.where(index)}: expected '((' after '{source[index]}'")
            return
        for start, _ in source.split(inner + 1, source.partner(inner)):
            if source[start].strip("_") not in _ATTRIBUTES:
                self.errors.append(f"{source.where(start)}: the attribute '{source[start]}' is not taken here")

    def swizzle(self, index: int) -> None:
        """Write `v.xy` as `v.sw<0,1>()`, and as `v.swr<0,1>()`, a reference, where it is assigned to."""
        name = self.source[index]
        if not _SWIZZLE.fullmatch(name) or name in self._field_names:
            return
        components = ",".join(str(("xyzw" if name[0] in "xyzw" else "rgba").index(letter)) for letter in name)
        accessor = "swr" if self.source[index + 1] in _ASSIGNMENTS else "sw"
        self.source.tokens[index].code = f"template {accessor}<{components}>()"

    def _fields(self, declarations: list[Declaration]) -> Iterator[str]:
        """The identifiers in the data members of classes: `s.xy` may be a member of a struct."""
        for declaration in declarations:
            if isinstance(declaration, Class):
                yield from self._fields(declaration.members)
                for member in declaration.members:
                    if type(member) is Declaration:
                        yield from (token.text for token in self.source.tokens[member.start : member.head])


def _small_float_literal(text: str) -> str:
    """`1.0h` and `1.0bf` in C++."""
    if not (match := _SMALL_FLOAT_LITERAL.fullmatch(text)):
        return text
    digits, type_name = match[1], "half" if match[2] in "hH" else "bfloat"
    return f"({type_name}({digits}{'f' if re.search('[.eE]', digits) else ''}))"
