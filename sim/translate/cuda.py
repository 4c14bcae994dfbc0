"""CUDA C++: every kernel becomes a __global__ function that binds its parameters and calls it."""

import re
import zlib

from .declarations import PARAMETER_KINDS, Declaration, Function, FunctionConstant, Kernel, ThreadgroupVariable
from .native import NativeEmitter


class CudaEmitter(NativeEmitter):
    """See the end of shim/metal_cuda.h. All is in namespace mtl, because CUDA has its own global float4."""

    header = "metal_cuda.h"
    opening, closing = "namespace mtl {\n", "}  // namespace mtl\n"
    namespace = "::mtl::"
    description_template = "template <int threads> "

    def emit(self) -> str:
        """Matrices want the lanes in another order: shim/cuda/barriers.h."""
        text = super().emit()
        return f"#define MSL_MATRICES\n{text}" if "simdgroup_multiply" in text else text

    def kernel(self, kernel: Kernel) -> None:
        self.function(kernel)
        super().kernel(kernel)

    def function(self, function: Function) -> None:
        self.before(self.source.past_templates(function.start), "__device__ ")

    def description(self, kernel: Kernel) -> str:
        kinds = [PARAMETER_KINDS.index(parameter.kind) for parameter in kernel.parameters]
        indices = [parameter.index for parameter in kernel.parameters]
        threads = "static constexpr int most_threads = threads;"  # bounds the registers that nvcc takes
        return f"{threads} {_lookup('kind', kinds)} {_lookup('index', indices)}"

    def description_arguments(self, kernel: Kernel) -> str:
        return f"<int({kernel.most_threads})>"

    def registration(self, name: str, function: str, description: str, scope: str) -> str:
        self.appendix.append(
            f'extern "C" __global__ void __launch_bounds__({description}::most_threads) {entry_point(name)}(MslArgs a) '
            f"{{ msl::launch<{description}, {function}>({function}, a); }}"
        )
        return ""

    def threadgroup_variable(self, variable: ThreadgroupVariable) -> None:
        self.source.tokens[variable.keyword].code = "__shared__"

    def function_constant(self, constant: FunctionConstant) -> None:
        """What the host sets as mtl::NAME, or what is compiled in; a computed one is a function, called by its name."""
        name, value = constant.name, self.plain(constant.head + 1, constant.stop - 1)
        self.blank(constant.start, constant.stop)
        if constant.index is not None and self.constants is not None:
            known = self.constants.get(name)
            literal = str(known or 0).lower()  # of False and True, too
            self.before(constant.start, f"constexpr {constant.type} {name} = {literal};")
            self.before(constant.start, f"constexpr bool {name}__defined = {str(known is not None).lower()};")
            return
        if constant.index is not None:
            self.before(constant.start, f"__constant__ {constant.type} {name}; __constant__ bool {name}__defined;")
            return
        self.before(constant.start, f"__device__ inline {constant.type} {name}__value() {{ return {value}; }}")
        for index in range(constant.stop, len(self.source)):
            if self.source[index] == name and self.source[index - 1] not in (".", "->"):
                self.source.tokens[index].code = f"{name}__value()"

    def variable(self, declaration: Declaration) -> None:
        """A table in constant memory: device code cannot index a host's array."""
        tokens = self.source.tokens[declaration.start : declaration.head]
        space = next((token for token in tokens if token.text == "constant"), None)
        if space and tokens[-1].text == "]" and tokens[-2].text != "]":  # an array, not an attribute
            space.before = "__constant__ "

    def pragma(self, text: str) -> str:
        return self.unrolling(text)


def entry_point(kernel: str) -> str:
    """The name of a kernel's __global__ function; host names that are no identifiers are told apart by a checksum."""
    identifier = re.sub(r"[^A-Za-z0-9_]", "_", kernel)
    return f"msl_{identifier}" if identifier == kernel else f"msl_{identifier}_{zlib.crc32(kernel.encode()):08x}"


def _lookup(name: str, values: list[int]) -> str:
    table = ", ".join(map(str, values)) or "0"
    return f"static constexpr int {name}(int i) {{ constexpr int v[] = {{{table}}}; return v[i]; }}"
