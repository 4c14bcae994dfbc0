"""A launch with everything that a runner needs to carry it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from .arguments import Buffer

Result = TypeVar("Result")


@dataclass(frozen=True)
class BoundLaunch:
    """A kernel with its buffers: `build(text, include=include)` compiles it, `launch.on(library.run)` runs it.

    Attributes:
        text: Metal text that instantiates the kernel.
        include: Directories of the headers that it includes.
        kernel: The kernel's host name.
        buffers: By index.
        threadgroups: Of the grid.
        threads_per_threadgroup: Of each.
        constants: Function constants by name.
    """

    text: str
    kernel: str
    buffers: Mapping[int, Buffer]
    threadgroups: Sequence[int]
    threads_per_threadgroup: Sequence[int]
    constants: Mapping[str, bool | int | float] = field(default_factory=dict)
    include: tuple[Path, ...] = ()

    def on(self, method: Callable[..., Result], **options: Any) -> Result:
        """Return what a library's run, count or time, as `method`, returns for this launch."""
        return method(
            self.kernel,
            self.buffers,
            threadgroups=self.threadgroups,
            threads_per_threadgroup=self.threads_per_threadgroup,
            constants=self.constants,
            **options,
        )
