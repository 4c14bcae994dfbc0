"""Run Metal kernels on an NVIDIA GPU: warps as SIMD-groups, with real concurrency. The interface is that of sim.run."""

from .library import CudaLibrary, build, build_many

__all__ = ["CudaLibrary", "build", "build_many"]
