"""Run Metal kernels on this machine's processor, with the semantics of threadgroups and SIMD-groups."""

from .arguments import ORDERS, AtOffset, Buffer
from .library import Library, Parameter, Source, build, build_many

__all__ = ["ORDERS", "AtOffset", "Buffer", "Library", "Parameter", "Source", "build", "build_many"]
