"""Run Metal kernels on this machine's processor, with the semantics of threadgroups and SIMD-groups."""

from .arguments import ORDERS, AtOffset, Buffer
from .cost import Cost
from .launch import BoundLaunch
from .library import Library, Parameter, Source, build, build_many

__all__ = [
    "ORDERS",
    "AtOffset",
    "BoundLaunch",
    "Buffer",
    "Cost",
    "Library",
    "Parameter",
    "Source",
    "build",
    "build_many",
]
