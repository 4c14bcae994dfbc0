"""Fused attention, RMSNorm and GELU operators for MLX, PyTorch and numpy.

The kind of the first array picks the framework. Importing fusedops imports neither torch nor mlx: each is loaded when
an array of its kind arrives.
"""

from .ops.geglu import geglu
from .ops.gelu import gelu
from .ops.rms_norm import rms_norm
from .ops.sdpa import sdpa

__version__ = "0.1.0"
__all__ = ["geglu", "gelu", "rms_norm", "sdpa"]
