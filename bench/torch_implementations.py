"""The operators in PyTorch: fusedops, torch's own, and what people write by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F

import fusedops
from bench.cases import Case, Geglu, Gelu, RmsNorm, Sdpa
from bench.framework import EPS, Framework, Implementation, of_sum, scores_fit
from bench.torch_kernels import kernel_alone

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
SYNCHRONIZE: dict[str, Callable[[], None]] = {
    "cpu": lambda: None,
    "cuda": torch.cuda.synchronize,
    "mps": torch.mps.synchronize,
}


class Torch(Framework):
    """PyTorch in inference mode; outputs are allocated by every call."""

    name: ClassVar[str] = "torch"

    def __init__(self, device: str) -> None:
        super().__init__(device)
        # The first large block that is freed makes glibc's malloc keep memory, as it does in any program that has run
        # for a while; without it a case's page faults would depend on the cases before it.
        torch.empty(30 * 2**20, dtype=torch.uint8)

    def without_gradients(self) -> torch.inference_mode:
        return torch.inference_mode()

    def array(self, values: np.ndarray, dtype: str) -> torch.Tensor:
        return torch.from_numpy(values).to(self.device).to(DTYPES[dtype])

    def to_numpy(self, array: torch.Tensor) -> np.ndarray:
        return array.cpu().float().numpy()

    def implementations(self, case: Case, compiled: bool) -> dict[str, Implementation]:
        found = BUILDERS[type(case)](case) | (kernel_alone(case) if self.on_cpu else {})
        if compiled:
            torch.compiler.reset()  # else the shapes of earlier cases make this one a dynamic one
            found["torch.compile"] = torch.compile(found[self.name], fullgraph=True)
        return found

    def run(self, call: Callable[[], Any], repeats: int, lazy: bool = False) -> None:
        for _ in range(repeats):
            call()
        SYNCHRONIZE[self.device]()

    def copy(self, array: torch.Tensor) -> torch.Tensor:
        return array.clone()

    def device_name(self) -> str | None:
        return torch.cuda.get_device_name() if self.device == "cuda" else None


def _rms_norm(case: RmsNorm) -> dict[str, Implementation]:
    hidden = (case.hidden,)

    def composite(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        wide = x.float()
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPS)).to(x.dtype) * weight

    def own(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, hidden, weight, EPS)

    if case.residual:
        return {
            "fusedops": lambda x, weight, residual: fusedops.rms_norm(x, weight, EPS, residual=residual),
            "torch": of_sum(own),
            "composite": of_sum(composite),
        }
    return {"fusedops": lambda x, weight: fusedops.rms_norm(x, weight, EPS), "torch": own, "composite": composite}


def _gelu(case: Gelu) -> dict[str, Implementation]:
    approximate = case.approximate
    return {
        "fusedops": lambda x: fusedops.gelu(x, approximate=approximate),
        "torch": lambda x: F.gelu(x, approximate=approximate),
    }


def _geglu(case: Geglu) -> dict[str, Implementation]:
    approximate = case.approximate
    return {
        "fusedops": lambda gate, up: fusedops.geglu(gate, up, approximate=approximate),
        "torch": lambda gate, up: F.gelu(gate, approximate=approximate) * up,
    }


def _sdpa(case: Sdpa) -> dict[str, Implementation]:
    causal, gqa = case.causal, case.query_heads != case.kv_heads

    def matmul_softmax(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        # The query heads of one kv head form a dimension of their own, so that K and V are broadcast to them.
        grouped = torch.unflatten(q, 1, (case.kv_heads, -1))
        scores = grouped @ k.unsqueeze(2).transpose(-1, -2) * case.head_dim**-0.5
        if causal:
            hidden = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
            scores = scores.masked_fill(hidden, -torch.inf)
        weights = torch.softmax(scores, -1, dtype=torch.float32).to(q.dtype)
        return (weights @ v.unsqueeze(2)).flatten(1, 2)

    found: dict[str, Implementation] = {
        "fusedops": lambda q, k, v: fusedops.sdpa(q, k, v, causal=causal),
        "torch": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=gqa),
    }
    if scores_fit(case):
        found["matmul+softmax"] = matmul_softmax
    return found


BUILDERS: dict[type[Case], Callable[[Any], dict[str, Implementation]]] = {
    RmsNorm: _rms_norm,
    Gelu: _gelu,
    Geglu: _geglu,
    Sdpa: _sdpa,
}
