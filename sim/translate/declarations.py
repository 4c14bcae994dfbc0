"""The declarations of a Metal translation unit: what an emitter must know, and no more.

Declarations are parsed, expressions are not: a function's body is only searched for `threadgroup` variables. Ranges are
token indices of the Source.
"""

import re
from dataclasses import dataclass, field

from .lexer import Source

MAXIMUM_BUFFERS = 31  # Metal's limit of buffer and of threadgroup arguments

ADDRESS_SPACES = frozenset({"device", "constant", "thread", "threadgroup"})

# What a kernel parameter can be bound to, in the order of MslKind in shim/sim_abi.h.
PARAMETER_KINDS = (
    "buffer",
    "threadgroup",
    "thread_position_in_grid",
    "thread_position_in_threadgroup",
    "threadgroup_position_in_grid",
    "threads_per_threadgroup",
    "threads_per_grid",
    "threadgroups_per_grid",
    "thread_index_in_threadgroup",
    "thread_index_in_simdgroup",
    "simdgroup_index_in_threadgroup",
    "simdgroups_per_threadgroup",
    "threads_per_simdgroup",
    "thread_index_in_quadgroup",
    "quadgroup_index_in_threadgroup",
)
_KIND_OF_ATTRIBUTE = {kind: kind for kind in PARAMETER_KINDS} | {
    "dispatch_threads_per_threadgroup": "threads_per_threadgroup",
    "dispatch_simdgroups_per_threadgroup": "simdgroups_per_threadgroup",
    "thread_execution_width": "threads_per_simdgroup",
}

_CLASS_KEYS = frozenset({"struct", "class", "union", "enum"})
_SPECIFIERS = frozenset({"static", "inline", "constexpr", "const", "volatile"})
_NOT_A_PARAMETER_LIST = frozenset({"alignas", "decltype", "noexcept", "__attribute__", "coherent"})


@dataclass
class Declaration:
    """Any declaration; one of no interest is only this. [start, head) declares, [head, stop) defines."""

    scope: str
    start: int
    head: int
    stop: int
    defines: bool = False  # has a body
    member_specialization: bool = False  # `template <> void f(int)` inside a class


@dataclass
class ThreadgroupVariable:
    """`alignas(A) threadgroup T x[N], y;` in a kernel.

    Indices: `keyword` of the address space, `alignment` of alignas if there is one, `names` of x and y.
    """

    keyword: int
    alignment: int | None
    names: list[int]
    initializer: int | None
    stop: int


@dataclass
class Parameter:
    """A kernel's parameter: what it is bound to, and the tokens [start, stop) that declare it."""

    name: str
    kind: str
    index: int  # of the buffer or the threadgroup memory
    condition: str | None  # the function constant that must be true for it to exist
    start: int
    stop: int
    is_explicit: bool  # its attribute is written out


@dataclass
class Function(Declaration):
    """A function with a body; `name` is a token index, `parameter_list` and `body` are the opening brackets."""

    name: int = 0
    parameter_list: int = 0
    body: int = 0
    threadgroup_variables: list[ThreadgroupVariable] = field(default_factory=list)


@dataclass
class Kernel(Function):
    """A kernel, or a template of one."""

    host_name: str = ""
    is_template: bool = False
    most_threads: str = "1024"  # of a threadgroup
    declares_most_threads: bool = False
    parameters: list[Parameter] = field(default_factory=list)


@dataclass
class Class(Declaration):
    """A struct, class, union or enum; an enum's members are left out."""

    members: list[Declaration] = field(default_factory=list)


@dataclass
class FunctionConstant(Declaration):
    """A global that the host sets (`index`), or one computed from such globals (`index` None, an initializer)."""

    name: str = ""
    type: str = ""
    index: str | None = None


@dataclass
class Instantiation(Declaration):
    """`template [[host_name("x")]] [[kernel]] decltype(f<A>) f<A>;` or `template [[host_name("x")]] void f<A>(...);`.

    [first, name) qualifies the kernel, [name, last) is `f<A>`. `signature` holds the parameters' ranges where template
    arguments are left to be deduced from them. An explicit instantiation of anything but a kernel has no host name.
    """

    host_name: str = ""
    first: int = 0
    name: int = 0
    last: int = 0
    signature: list[tuple[int, int]] | None = None


@dataclass
class Unit:
    """A parsed translation unit: its declarations in order, namespaces flattened, and the errors found on the way."""

    source: Source
    declarations: list[Declaration]
    errors: list[str]

    @property
    def kernels(self) -> list[Kernel]:
        return [declaration for declaration in self.declarations if isinstance(declaration, Kernel)]

    @property
    def instantiations(self) -> list[Instantiation]:
        """The explicit instantiations of kernels."""
        return [d for d in self.declarations if isinstance(d, Instantiation) and d.host_name]

    @property
    def uninstantiated(self) -> list[str]:
        """The names of templates of kernels that nothing instantiates."""
        instantiated = {self.source[instantiation.name] for instantiation in self.instantiations}
        templates = [self.source[kernel.name] for kernel in self.kernels if kernel.is_template]
        return [name for name in templates if name not in instantiated]


def parse(text: str) -> Unit:
    """Parse preprocessed Metal text. SimulatorError: brackets do not match."""
    parser = _Parser(Source(text))
    return Unit(parser.source, parser.scope_body(0, len(parser.source), ""), parser.errors)


class _Parser:
    def __init__(self, source: Source):
        self.source = source
        self.errors: list[str] = []
        self.constants: set[str] = set()  # function constants and what is computed from them

    def error(self, index: int, message: str) -> None:
        self.errors.append(f"{self.source.where(index)}: {message}")

    # --- scopes

    def scope_body(self, start: int, stop: int, scope: str, in_class: bool = False) -> list[Declaration]:
        """The declarations in the token range of a file, a namespace or a class."""
        source, found, index = self.source, list[Declaration](), start
        while index < stop:
            if source[index] == ";":
                index += 1
            elif in_class and source[index] in ("public", "private", "protected") and source[index + 1] == ":":
                index += 2
            elif source[index] == "namespace" or (source[index] == "inline" and source[index + 1] == "namespace"):
                body = source.find(index, stop, ("{", ";"))
                if source[body] == "{":  # not `namespace a = b;`
                    inner = scope + self.namespaces(index, body)
                    found += self.scope_body(body + 1, source.partner(body), inner)
                index = source.past(body)
            elif source[index] == "extern" and source[index + 2] == "{":
                found += self.scope_body(index + 3, source.partner(index + 2), scope)
                index = source.past(index + 2)
            else:
                found.append(self.declaration(index, stop, scope, in_class))
                index = found[-1].stop
        return found

    def namespaces(self, start: int, body: int) -> str:
        """`inline namespace a::b {` opens ::a::b; one without a name opens nothing, its names are those around it."""
        source, index, names = self.source, start, ""
        while index < body:
            if source.is_identifier(index) and source[index] not in ("inline", "namespace"):
                names += f"::{source[index]}"
            index = source.past(index)
        return names

    def declaration(self, start: int, stop: int, scope: str, in_class: bool) -> Declaration:
        source = self.source
        if source[start] == "template" and source[start + 1] != "<":
            return self.instantiation(start, stop, scope)
        after_template = source.past_templates(start)
        if self.declares_class(after_template):
            return self.class_declaration(start, stop, scope)
        found = self.function_or_variable(start, after_template, stop, scope, in_class)
        if in_class and isinstance(found, Function) and source[start] == "template" and source[start + 2] == ">":
            found.member_specialization = source[found.name] != ">"
        return found

    def declares_class(self, index: int) -> bool:
        source = self.source
        while source[index] in ("static", "inline", "constexpr") or source.is_attribute(index):
            index = source.past(index)
        return source[index] in _CLASS_KEYS

    def class_declaration(self, start: int, stop: int, scope: str) -> Class:
        source = self.source
        index = source.past_templates(start)
        is_enum = source[index] == "enum"
        while index < stop and source[index] not in ("{", ";", "="):
            index = source.past_angle(index) if source[index] == "<" else source.past(index)
        end = source.find(index, stop, ";")
        members = []
        if source[index] == "{" and not is_enum:
            inner = f"{scope}::{source.text(start, index)}"
            members = self.scope_body(index + 1, source.partner(index), inner, in_class=True)
        return Class(scope, start, index, min(end + 1, stop), True, False, members)

    # --- functions and variables

    def function_or_variable(self, start: int, index: int, stop: int, scope: str, in_class: bool) -> Declaration:
        source = self.source
        parameter_list = head = None
        while index < stop and source[index] != ";":
            text = source[index]
            if text == "operator":
                index = self.past_operator_name(index)
                continue
            if text == "(" and parameter_list is None and source[index - 1] not in _NOT_A_PARAMETER_LIST:
                parameter_list = index
            elif text == "<" and parameter_list is None:
                index = source.past_angle(index)
                continue
            elif text == "=":
                head, index = index, source.find(index, stop, ";")
                break
            elif text == ":" and parameter_list is not None:
                head, index = index, self.past_initializers(index)
                continue
            elif text == "{" and parameter_list is not None:
                return self.function(start, parameter_list, index, head or index, scope)
            index = source.past(index)
        end = min(index + 1, stop)
        if not in_class and (constant := self.function_constant(start, head or index, end, scope)):
            return constant
        return Declaration(scope, start, head or index, end)

    def past_operator_name(self, index: int) -> int:
        """`operator<`, `operator()`, `operator T`: the index of the parameter list."""
        source, index = self.source, index + 1
        while source[index] != "(" or (source[index + 1] == ")" and source[index + 2] == "("):
            index += 1
        return index

    def past_initializers(self, index: int) -> int:
        """A constructor's `: a(1), b{2}`: the index of its body."""
        source = self.source
        while source[index] in (":", ","):
            while source[index] not in ("(", "{"):
                index = source.past_angle(index) if source[index] == "<" else index + 1
            index = source.past(index)
        return index

    def function(self, start: int, parameter_list: int, body: int, head: int, scope: str) -> Function:
        source = self.source
        is_kernel = any(token.text == "kernel" for token in source.tokens[start:parameter_list])
        variables = self.threadgroup_variables(body, is_kernel)
        operator = (i for i in range(start, parameter_list) if source[i] == "operator")
        name, stop = next(operator, parameter_list - 1), source.past(body)
        if not is_kernel:
            return Function(scope, start, head, stop, True, False, name, parameter_list, body, variables)
        kernel = Kernel(scope, start, head, stop, True, False, name, parameter_list, body, variables)
        attributes = source.attributes(start, parameter_list)
        kernel.host_name = self.host_name(start, parameter_list, source[name])
        kernel.most_threads = attributes.get("max_total_threads_per_threadgroup", kernel.most_threads)
        kernel.declares_most_threads = "max_total_threads_per_threadgroup" in attributes
        kernel.is_template = source[start] == "template"
        kernel.parameters = self.parameters(kernel)
        return kernel

    # --- kernels

    def parameters(self, kernel: Kernel) -> list[Parameter]:
        source = self.source
        found: list[Parameter] = []
        for start, stop in source.split(kernel.parameter_list + 1, source.partner(kernel.parameter_list)):
            attributes = source.attributes(start, stop)
            kinds = (_KIND_OF_ATTRIBUTE[name] for name in attributes if name in _KIND_OF_ATTRIBUTE)
            kind = next(kinds, None)
            name = self.declared_name(start, stop)
            parameter = Parameter(name, "", 0, attributes.get("function_constant"), start, stop, kind is not None)
            parameter.kind = kind or self.implicit_kind(parameter, source[kernel.name], attributes)
            if parameter.kind in ("buffer", "threadgroup"):
                taken = [other.index for other in found if other.kind == parameter.kind]
                written = attributes.get(parameter.kind)
                parameter.index = self.index(start, written) if written else max(taken, default=-1) + 1
            found.append(parameter)
        return found

    def index(self, where: int, written: str) -> int:
        """Of a buffer or of threadgroup memory; what is no number within Metal's limit is an error."""
        if re.fullmatch("0|[1-9][0-9]*", written) and int(written) < MAXIMUM_BUFFERS:
            return int(written)
        self.error(where, f"index {written}: expected a number from 0 to {MAXIMUM_BUFFERS - 1}")
        return 0

    def host_name(self, start: int, stop: int, default: str) -> str:
        """The name that the host uses: adjacent string literals joined, as the preprocessor leaves `"a" #b`."""
        source = self.source
        given = (i for i in range(start, stop) if source[i] == "host_name" and source[i + 1] == "(")
        if (index := next(given, None)) is None:
            return default
        literals = source.tokens[index + 2 : source.partner(index + 1)]
        name = "".join(literal.text[1:-1] for literal in literals)
        if all(literal.text[0] == '"' for literal in literals) and re.fullmatch(r"[ !#-\[\]-~]+", name):
            return name
        written = " ".join(literal.text for literal in literals)
        self.error(index, f"host name {written!a}: expected printable ASCII characters in quotes, without escapes")
        return default

    def declared_name(self, start: int, stop: int) -> str:
        """The name that a parameter declares, before its attributes and array brackets."""
        source = self.source
        end = next((index for index in range(start, stop) if source[index] == "["), stop)
        return source[end - 1] if source.is_identifier(end - 1) else "unnamed"

    def implicit_kind(self, parameter: Parameter, kernel: str, attributes: dict[str, str]) -> str:
        """A parameter without an attribute is a buffer or threadgroup memory by its address space."""
        words = {token.text for token in self.source.tokens[parameter.start : parameter.stop]}
        if not words & ADDRESS_SPACES:
            seen = f" (found {', '.join(sorted(attributes))})" if attributes else ""
            self.error(
                parameter.start,
                f"parameter '{parameter.name}' of kernel {kernel}: no address space and no attribute known here{seen}",
            )
        return "threadgroup" if "threadgroup" in words else "buffer"

    def threadgroup_variables(self, body: int, is_kernel: bool) -> list[ThreadgroupVariable]:
        source, found = self.source, []
        for start in range(body + 1, source.partner(body)):
            if source[start - 1] not in ("{", "}", ";"):
                continue
            keyword = start
            while source[keyword] in ("static", "const", "volatile", "alignas"):
                keyword = source.past(keyword + 1) if source[keyword] == "alignas" else keyword + 1
            if source[keyword] != "threadgroup" or not (variable := self.threadgroup_variable(start, keyword)):
                continue
            if not is_kernel:
                self.error(start, "threadgroup variables may only be declared in a kernel function")
            if variable.initializer is not None and len(variable.names) > 1:
                self.error(start, "several threadgroup variables with an initializer: split the declaration")
            found.append(variable)
        return found

    def threadgroup_variable(self, start: int, keyword: int) -> ThreadgroupVariable | None:
        """None if the statement declares a pointer or reference into threadgroup memory."""
        source, index = self.source, keyword
        names: list[int] = []
        name, initializer = keyword, None
        while source[index] != ";":
            if source[index] == "<":
                index = source.past_angle(index)
                continue
            if initializer is None:
                if source[index] in ("*", "&"):
                    return None
                if source[index] == "=":
                    initializer = index
                elif source.is_identifier(index):
                    name = index
            if source[index] == ",":
                names.append(name)
            index = source.past(index)
        alignment = next((i for i in range(start, index) if source[i] == "alignas"), None)
        return ThreadgroupVariable(keyword, alignment, [*names, name], initializer, index)

    # --- function constants and instantiations

    def function_constant(self, start: int, head: int, stop: int, scope: str) -> FunctionConstant | None:
        source = self.source
        attribute = next((index for index in range(start, head) if source.is_attribute(index)), head)
        index = source.attributes(start, head).get("function_constant")
        uses = any(token.text in self.constants for token in source.tokens[head:stop])
        if index is None and not uses:
            return None
        ignored = _SPECIFIERS | ADDRESS_SPACES
        *words, name = (token.text for token in source.tokens[start:attribute] if token.text not in ignored)
        self.constants.add(name)
        return FunctionConstant(scope, start, head, stop, False, False, name, " ".join(words), index)

    def instantiation(self, start: int, stop: int, scope: str) -> Instantiation:
        source = self.source
        end = source.find(start, stop, ";")
        found = Instantiation(scope, start, end, min(end + 1, stop))
        if not any(token.text == "kernel" for token in source.tokens[start:end]):
            return found
        decltype = source.find(start, end, ("decltype",))
        if decltype < end:
            found.first, found.last = decltype + 2, source.partner(decltype + 1)
            arguments = next((i for i in range(found.first, found.last) if source[i] == "<"), found.last)
            found.name = arguments - 1
        else:
            self.function_instantiation(found, source.partner(end - 1))
        found.host_name = self.host_name(start, end, source[found.name])
        return found

    def function_instantiation(self, found: Instantiation, parameter_list: int) -> None:
        """`void f<A>(parameters);`, where <A> may be missing."""
        source = self.source
        found.last = parameter_list
        if source[parameter_list - 1] == ">":
            opening = (i for i in range(parameter_list - 1, found.start, -1) if source[i] == "<")
            found.name = next(i for i in opening if source.past_angle(i) == parameter_list) - 1
        else:
            found.name = parameter_list - 1
            found.signature = source.split(parameter_list + 1, source.partner(parameter_list))
        found.first = found.name
