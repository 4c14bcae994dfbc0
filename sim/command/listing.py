"""The list command: kernels, their arguments and their instantiations."""

import re
from collections.abc import Iterator

from ..translate.declarations import Instantiation, Kernel, Parameter, Unit


def listing(unit: Unit) -> Iterator[str]:
    """One paragraph for each kernel or template of kernels."""
    for kernel in unit.kernels:
        name = unit.source[kernel.name]
        instantiations = [found for found in unit.instantiations if unit.source[found.name] == name]
        yield from (f"{template} {name}" for template in _heading(unit, kernel))
        for parameter in kernel.parameters:
            yield f"    {_binding(parameter):<34} {_declaration(unit, parameter)}"
        if kernel.is_template:
            yield from _instantiations(name, instantiations)
        yield ""


def _heading(unit: Unit, kernel: Kernel) -> Iterator[str]:
    start, stop = kernel.start, unit.source.past_templates(kernel.start)
    yield f"{_pretty(unit.source.text(start, stop))} kernel" if kernel.is_template else "kernel"


def _binding(parameter: Parameter) -> str:
    indexed = parameter.kind in ("buffer", "threadgroup")
    condition = f" if {parameter.condition}" if parameter.condition else ""
    return (f"{parameter.kind} {parameter.index}" if indexed else parameter.kind) + condition


def _declaration(unit: Unit, parameter: Parameter) -> str:
    stop = next((i for i in range(parameter.start, parameter.stop) if unit.source.is_attribute(i)), parameter.stop)
    return _pretty(unit.source.text(parameter.start, stop))


def _instantiations(name: str, instantiations: list[Instantiation]) -> Iterator[str]:
    if not instantiations:
        yield f"    not instantiated: name one as '{name}<...>'"
    yield from (f"    instantiated as {found.host_name}" for found in instantiations)


def _pretty(text: str) -> str:
    """Tokens with the spaces of ordinary code."""
    text = re.sub(r" (::|[<,>*&\])]) ?", r"\1", text + " ")
    text = re.sub(r"([,>*&])(?=\w)", r"\1 ", text)
    return re.sub(r"(::|[\[(]) ", r"\1", text).strip()
