"""C++ for OpenCL, for clang to check: it has Metal's address spaces under other names. Never run."""

import re
from typing import ClassVar

from .declarations import FunctionConstant, Instantiation, Kernel, ThreadgroupVariable, Unit
from .emitter import Emitter

_VECTOR = re.compile(r"(bool|u?char|u?short|u?int|u?long|half|bfloat|float)[234]")
_VECTOR_ALIASES = (
    re.compile(r"using (\w+) = (?:typename )?(?:metal :: )?vec <"),
    re.compile(r"typedef (?:metal :: )?vec < [^;]* > (\w+) ;"),
)


class OpenCLEmitter(Emitter):
    """See shim/opencl/metal_opencl.h."""

    header = "metal_opencl.h"
    space_names: ClassVar[dict[str, str]] = {
        "device": "__global",
        "constant": "__constant",
        "thread": "__private",
        "threadgroup": "__local",
    }
    merges_address_spaces = False

    def __init__(self, unit: Unit, only: str | None = None):
        super().__init__(unit, only)
        text = self.source.text(0, len(self.source))
        self._vector_aliases = {name for pattern in _VECTOR_ALIASES for name in pattern.findall(text)}

    def kernel(self, kernel: Kernel) -> None:
        if not kernel.is_template:
            self.is_wanted(kernel)

    def instantiation(self, instantiation: Instantiation) -> None:
        """Clang instantiates by itself; the attributes go with all others."""
        if not self.is_wanted(instantiation):
            self.blank(instantiation.start, instantiation.stop)

    def threadgroup_variable(self, variable: ThreadgroupVariable) -> None:
        tokens = self.source.tokens
        tokens[variable.keyword].code = "typedef"
        self.take_alignment(variable)
        for index in variable.names:
            name = self.source[index]
            tokens[index].code = f"{name}__t"
            storage = f"*(__local {name}__t*)msl_local(sizeof({name}__t))"
            self.after(variable.stop, f" __local {name}__t& {name} = {storage};")

    def function_constant(self, constant: FunctionConstant) -> None:
        if constant.index is not None:
            self.before(constant.head, f" = {constant.type}(0)")

    def value(self, index: int) -> None:
        """Clang has no float4(a, b): write msl_make<float4>(a, b), also for vec<T, N>(...) and aliases of it."""
        source, first, last = self.source, index, index
        if source[index] == "vec" and source[index + 1] == "<":
            first = index - 2 if source[index - 1] == "::" else index
            last = source.past_angle(index + 1) - 1
        elif not _VECTOR.fullmatch(source[index]) and source[index] not in self._vector_aliases:
            return
        if source[last + 1] == "(" and source[first - 1] not in (".", "->", "operator"):
            source.tokens[first].before = "msl_make<" + source.tokens[first].before
            self.after(last, ">")
