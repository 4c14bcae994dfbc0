"""Where things can run here. torch's devices go by torch's names, MLX's by "mlx-cpu" and "mlx-gpu"."""

from __future__ import annotations

from importlib.util import find_spec

DEVICES = ("cpu", "cuda", "mps", "mlx-cpu", "mlx-gpu")
SIMULATOR = "sim"
"""Where the Metal kernels are counted, not timed; never among "all"."""


def why_missing(device: str) -> str | None:
    """None when `device` exists here, else the reason why not."""
    if device == SIMULATOR:
        return None
    framework = "mlx" if device.startswith("mlx") else "torch"
    if find_spec(framework) is None:
        return f"{framework} is not installed"
    if device == "cuda":
        import torch

        return None if torch.cuda.is_available() else "torch sees no CUDA device"
    if device == "mps":
        import torch

        return None if torch.backends.mps.is_available() else "torch sees no Metal device"
    if device == "mlx-gpu":
        import mlx.core as mx

        return None if mx.is_available(mx.gpu) else "MLX sees no GPU"
    return None
