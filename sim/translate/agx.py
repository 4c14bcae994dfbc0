"""C++ for OpenCL with entry points, for a compiler of Apple's GPU instructions: docs/agx.md. Never run."""

from .cuda import entry_point
from .declarations import Function, FunctionConstant, Instantiation, Kernel, Parameter, ThreadgroupVariable, Unit
from .opencl import OpenCLEmitter

UNBOUNDED_THREADS = 384  # a threadgroup of no more leaves a thread all registers that there are
_POOL_BYTES = 32768  # Metal's limit of a threadgroup's memory
_GRID = ("uint gx", "uint gy", "uint gz", "uint tx", "uint ty", "uint tz")  # extents, known at launch only

_BUILT_IN = {  # what an argument of each kind is given; the functions are in shim/agx/metal_agx.h
    "thread_position_in_grid": "msl_position_in_grid(tx, ty, tz)",
    "thread_position_in_threadgroup": "msl_position_in_threadgroup()",
    "threadgroup_position_in_grid": "msl_threadgroup_position()",
    "threads_per_threadgroup": "msl_position{tx, ty, tz}",
    "threads_per_grid": "msl_position{gx * tx, gy * ty, gz * tz}",
    "threadgroups_per_grid": "msl_position{gx, gy, gz}",
    "thread_index_in_threadgroup": "msl_index_in_threadgroup(tx, ty)",
    "thread_index_in_simdgroup": "msl_rt_lane()",
    "simdgroup_index_in_threadgroup": "__spirv_BuiltInSubgroupId()",
    "simdgroups_per_threadgroup": "(tx * ty * tz + 31) / 32",
    "threads_per_simdgroup": "32u",
    "thread_index_in_quadgroup": "msl_rt_lane() % 4",
    "quadgroup_index_in_threadgroup": "msl_index_in_threadgroup(tx, ty) / 4",
}


class AgxEmitter(OpenCLEmitter):
    """As for the static check, but complete; see shim/agx/metal_agx.h.

    A kernel stays a function, which is given the threadgroup's memory as a first argument, since only an entry point
    may declare such. The entry point takes buffers as bytes: their types are found by the call.
    """

    header = "metal_agx.h"

    def __init__(self, unit: Unit, only: str | None = None):
        super().__init__(unit, only)
        self._ends: dict[int | None, str] = {}  # of a kernel's threadgroup variables so far

    def emit(self) -> str:
        self._make_offsets_numbers()
        return super().emit()

    def _make_offsets_numbers(self) -> None:
        """Clang adds no object that becomes a number to a pointer: `p += a * b;` with MLX's integral_constant."""
        source = self.source
        for index, token in enumerate(source.tokens):
            if token.text in ("+=", "-="):
                stop = source.find(index, len(source), ";")
                if all(source.is_identifier(i) or source[i] == "*" for i in range(index + 1, stop)):
                    self.before(index + 1, "msl_number(")
                    self.after(stop - 1, ")")

    def kernel(self, kernel: Kernel) -> None:
        source = self.source
        name = source[kernel.name]
        self.after(kernel.parameter_list, "__local uchar* msl_pool" + (", " if kernel.parameters else ""))
        template = self.plain(kernel.start, source.past_templates(kernel.start))
        self.after(kernel.stop - 1, f" {template} constexpr int msl_most_{name} = {self._most_threads(kernel)};")
        if not kernel.is_template and self.is_wanted(kernel):
            self._entry_point(kernel.host_name, kernel, f"{kernel.scope}::", name)

    def function(self, function: Function) -> None:
        """A constructor for the address space `thread` makes temporaries, too, which for clang have no space."""
        source, qualifier = self.source, self.source.partner(function.parameter_list) + 1
        if source[qualifier] == "thread" and function.scope.endswith(f" {source[function.name]}"):
            self.blank(qualifier, qualifier + 1)

    def instantiation(self, instantiation: Instantiation) -> None:
        """The entry point instantiates the kernel by calling it."""
        source, first, name = self.source, instantiation.first, instantiation.name
        kernel = next((k for k in self.unit.kernels if source[k.name] == source[name]), None)
        if self.is_wanted(instantiation) and kernel:
            scope, call = self.plain(first, name).replace(" ", ""), self.plain(name, instantiation.last)
            self._entry_point(instantiation.host_name, kernel, scope, call, instantiation.signature)
        self.blank(instantiation.start, instantiation.stop)

    def _entry_point(
        self, host_name: str, kernel: Kernel, scope: str, call: str, signature: list[tuple[int, int]] | None = None
    ) -> None:
        """`call` is the kernel's name with template arguments, `signature` has the types that any are deduced from."""
        parameters = [f"{self._space(p)} uchar* b{p.index}" for p in kernel.parameters if p.kind == "buffer"]
        casts = [self._cast(*types) for types in signature] if signature else [""] * len(kernel.parameters)
        arguments = map(self._argument, kernel.parameters)
        most = self._most_threads(kernel) if signature else f"{scope}msl_most_{call}"
        function = scope + call
        if not signature:  # nor is anything deduced, such as an argument with a default
            function = f"static_cast<decltype({function})*>({function})"
        values = ["(__local uchar*)pool", *(cast + argument for cast, argument in zip(casts, arguments, strict=True))]
        self.appendix.append(
            f"kernel __attribute__((reqd_work_group_size((MSL_THREADS({most}) + 3) / 4, 4, 1))) "
            f"void {entry_point(host_name)}({', '.join([*parameters, *_GRID])}) "
            f"{{ __local uint4 pool[{_POOL_BYTES // 16}]; {function}({', '.join(values)}); }}"
        )

    def _most_threads(self, kernel: Kernel) -> str:
        return kernel.most_threads if kernel.declares_most_threads else str(UNBOUNDED_THREADS)

    def _cast(self, start: int, stop: int) -> str:
        """A cast to the pointer or reference that a parameter is declared as; nothing for any other."""
        ends = [index + 1 for index in range(start, stop) if self.source[index] in ("*", "&")]
        return f"({self.plain(start, ends[-1])})" if ends else ""

    def _space(self, parameter: Parameter) -> str:
        return self.space_names["constant" if "constant" in self._words(parameter) else "device"]

    def _argument(self, parameter: Parameter) -> str:
        """What an entry point passes for a parameter; the host's own threadgroup memory is the pool's second half."""
        words = self._words(parameter)
        if parameter.kind == "threadgroup":
            return f"msl_threadgroup_pointer{{(__local uchar*)pool + {_POOL_BYTES // 2}}}"
        if parameter.kind == "buffer":
            space = "constant" if "constant" in words else "device"
            return f"msl_{space}_{'reference' if '&' in words else 'pointer'}{{b{parameter.index}}}"
        return _BUILT_IN[parameter.kind]

    def _words(self, parameter: Parameter) -> list[str]:
        return [token.text for token in self.source.tokens[parameter.start : parameter.stop]]

    def pragma(self, text: str) -> str:
        return self.unrolling(text)

    def threadgroup_variable(self, variable: ThreadgroupVariable) -> None:
        """A reference into the pool; those of a kernel lie one behind the other, at multiples of 16 bytes."""
        tokens = self.source.tokens
        tokens[variable.keyword].code = "typedef"
        self.take_alignment(variable)
        kernel = next((k.body for k in self.unit.kernels if k.body < variable.keyword < k.stop), None)
        for index in variable.names:
            name = self.source[index]
            tokens[index].code = f"{name}__t"
            place = f"constexpr int {name}__at = {self._ends.get(kernel, '0')};"
            storage = f"*(__local {name}__t*)(msl_pool + {name}__at)"
            self.after(variable.stop, f" {place} __local {name}__t& {name} = {storage};")
            self._ends[kernel] = f"{name}__at + (int(sizeof({name}__t)) + 15) / 16 * 16"

    def function_constant(self, constant: FunctionConstant) -> None:
        """Compiled in, as Metal does when it makes a pipeline."""
        if constant.index is not None:
            known = (self.constants or {}).get(constant.name)
            literal = str(known or 0).lower()  # of False and True, too
            self.before(constant.head, f" = {constant.type}({literal})")
            defined = str(known is not None).lower()
            self.after(constant.stop - 1, f" constexpr bool {constant.name}__defined = {defined};")
