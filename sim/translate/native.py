"""What the emitters of the targets that run kernels share."""

from .declarations import Instantiation, Kernel
from .emitter import Emitter


class NativeEmitter(Emitter):
    """A kernel f is accompanied by a function msl_d_f of the same template and parameters.

    The return type of msl_d_f describes the parameters, and the compiler's overload resolution finds the description
    that belongs to an instantiation of f.
    """

    namespace = "::"  # where the shim's `msl` lives
    description_template = ""  # of the type that describes a kernel's parameters

    def description(self, kernel: Kernel) -> str:
        """The members of the type that describes a kernel's parameters."""
        raise NotImplementedError

    def description_arguments(self, kernel: Kernel) -> str:
        """The arguments of description_template, which may depend on the kernel's own."""
        return ""

    def registration(self, name: str, function: str, description: str, scope: str) -> str:
        """What is to stand in the text to make a kernel known to the host by its name."""
        raise NotImplementedError

    def kernel(self, kernel: Kernel) -> None:
        source = self.source
        name, parameters_end = source[kernel.name], source.partner(kernel.parameter_list)
        template = self.plain(kernel.start, source.past_templates(kernel.start))
        parameters = self.plain(kernel.parameter_list + 1, parameters_end)
        description = f"msl_p{self.next_number()}_{name}"
        text = f" {self.description_template}struct {description} {{ {self.description(kernel)} }};"
        description += self.description_arguments(kernel)
        text += f" {template} {description} msl_d_{name}({parameters});"
        if not kernel.is_template and self.is_wanted(kernel):
            text += self.registration(kernel.host_name, f"&{name}", description, kernel.scope)
        self.after(kernel.stop - 1, text)

    def instantiation(self, instantiation: Instantiation) -> None:
        if self.is_wanted(instantiation):
            self.before(instantiation.start, self.instantiation_registration(instantiation))
        self.blank(instantiation.start, instantiation.stop)

    def instantiation_registration(self, instantiation: Instantiation) -> str:
        first, name, last = instantiation.first, instantiation.name, instantiation.last
        function = "&" + self.plain(first, last)
        if instantiation.signature is None:
            description = f"{self.namespace}msl::result_t<&{self.plain(first, name)} msl_d_{self.plain(name, last)}>"
        else:  # the compiler deduces the template arguments from the parameters' types
            types = [self.plain(*parameter) for parameter in instantiation.signature]
            values = ", ".join(f"{self.namespace}msl::arg<void({parameter})>()" for parameter in types)
            function = f"static_cast<void (*)({', '.join(types)})>({self.plain(first, last)})"
            description = f"decltype(msl_d_{self.source[name]}({values}))"
        return self.registration(instantiation.host_name, function, description, instantiation.scope)

    def member(self, index: int) -> None:
        self.swizzle(index)
