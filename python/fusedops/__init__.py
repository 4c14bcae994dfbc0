"""Fused attention, RMSNorm and GELU operators for MLX, PyTorch and numpy.

The kind of the first array picks the framework. Importing fusedops imports neither torch nor mlx: each is loaded when
an array of its kind arrives.
"""

from .diagnosis import Diagnosis, doctor
from .explanation import Explanation, explain
from .ops.flash_attn import flash_attn_func, flash_attn_varlen_func
from .ops.geglu import geglu
from .ops.gelu import gelu
from .ops.rms_norm import rms_norm
from .ops.sdpa import sdpa
from .ops.sdpa_varlen import sdpa_varlen

__version__ = "0.1.0"
__all__ = [
    "Diagnosis",
    "Explanation",
    "doctor",
    "explain",
    "flash_attn_func",
    "flash_attn_varlen_func",
    "geglu",
    "gelu",
    "rms_norm",
    "sdpa",
    "sdpa_varlen",
    "selftest",
]


def selftest() -> bool:
    """Check every kernel on every device of this machine against float64, in under a minute.

    Prints what doctor() finds, then a line for each operator on each device. `python -m fusedops selftest` does the
    same and says by its exit status whether all is well. What it prints is the report to send with a bug.

    Returns:
        Whether all checks passed.
    """
    from .verification import selftest as implementation

    return implementation.run()
