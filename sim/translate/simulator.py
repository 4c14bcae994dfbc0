"""C++ for the host, run by the fibers of shim/runtime."""

from .declarations import PARAMETER_KINDS, FunctionConstant, Kernel, ThreadgroupVariable
from .native import NativeEmitter


class SimulatorEmitter(NativeEmitter):
    """See shim/sim_abi.h and the end of shim/metal_sim.h for the names used here."""

    header = "metal_sim.h"

    def description(self, kernel: Kernel) -> str:
        rows = ", ".join(
            f"{{MslKind({PARAMETER_KINDS.index(parameter.kind)}), {parameter.index}, "
            f'{"&" + parameter.condition if parameter.condition else "nullptr"}, "{parameter.name}"}}'
            for parameter in kernel.parameters
        )
        return f"static const MslParam* get() {{ static const MslParam p[] = {{{rows}}}; return p; }}"

    def registration(self, name: str, function: str, description: str) -> str:
        return f' static ::msl::Kernel<{function}, {description}> msl_k{self.next_number()}("{name}");'

    def threadgroup_variable(self, variable: ThreadgroupVariable) -> None:
        """`typedef T x__t[N]; x__t& x = storage of the threadgroup;`."""
        tokens = self.source.tokens
        tokens[variable.keyword].code = "typedef"
        alignment = self.take_alignment(variable)
        for index in variable.names:
            name = self.source[index]
            tokens[index].code = f"{name}__t"
            aligned = f"{name}__a" if alignment else f"{name}__t"
            if alignment:
                self.after(variable.stop, f" struct {aligned} {{ {alignment} char c; }};")
            storage = f"msl_rt_tg(&{name}__s, sizeof({name}__t), alignof({aligned}))"
            self.after(variable.stop, f" static MslTgSlot {name}__s; {name}__t& {name} = *({name}__t*){storage};")

    def function_constant(self, constant: FunctionConstant) -> None:
        """A variable of the library; a computed one is set again after the host has set the others."""
        name, computation = constant.name, "nullptr"
        if constant.index is None:
            computation = f"[]() {{ {name} = {self.plain(constant.head + 1, constant.stop - 1)}; }}"
        self.blank(constant.start, constant.stop)
        self.before(
            constant.start,
            f"static {constant.type} {name}; static bool {name}__defined; static ::msl::Constant msl_c_{name}"
            f'({constant.index or -1}, "{name}", &{name}, sizeof {name}, &{name}__defined, {computation});',
        )
