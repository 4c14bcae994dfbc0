"""C++ for the host, run by the fibers of shim/runtime."""

from .declarations import PARAMETER_KINDS, FunctionConstant, Kernel, ThreadgroupVariable
from .native import NativeEmitter


class SimulatorEmitter(NativeEmitter):
    """See shim/sim_abi.h and the end of shim/metal_sim.h for the names used here."""

    header = "metal_sim.h"

    def emit(self) -> str:
        """One function tells the runtime all that it is to know, so that nothing runs before it is called."""
        self._registrations: list[str] = []
        return super().emit()

    def end(self) -> str:
        return f'extern "C" void msl_register() {{ {" ".join(self._registrations)} }}\n'

    def description(self, kernel: Kernel) -> str:
        rows = ", ".join(
            f"{{MslKind({PARAMETER_KINDS.index(parameter.kind)}), {parameter.index}, "
            f'{"&" + parameter.condition if parameter.condition else "nullptr"}, "{parameter.name}"}}'
            for parameter in kernel.parameters
        )
        return f"static const MslParam* get() {{ static const MslParam p[] = {{{rows}}}; return p; }}"

    def registration(self, name: str, function: str, description: str, scope: str) -> str:
        return self._registered(scope, f'::msl::register_kernel<{function}, {description}>("{name}");')

    def _registered(self, scope: str, statement: str) -> str:
        """What is to stand in the text, in its scope, so that msl_register carries out the statement."""
        name = f"msl_r{self.next_number()}"
        self._registrations.append(f"{scope}::{name}();")
        return f" static void {name}() {{ {statement} }}"

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
        arguments = f'{constant.index or -1}, "{name}", {name}, {name}__defined, {computation}'
        registered = self._registered(constant.scope, f"::msl::register_constant({arguments});")
        self.blank(constant.start, constant.stop)
        self.before(constant.start, f"static {constant.type} {name}; static bool {name}__defined;{registered}")
