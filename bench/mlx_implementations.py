"""The operators in MLX: fusedops, MLX's own, and what people write by hand."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, ClassVar

# MLX's CUDA backend multiplies float32 in TF32 unless told otherwise; torch does not. Here f32 means f32 on both.
os.environ.setdefault("MLX_ENABLE_TF32", "0")

import mlx.core as mx
import numpy as np
from mlx.nn.layers.activations import gelu, gelu_approx

import fusedops
from bench.cases import Approximate, Case, Geglu, Gelu, RmsNorm, Sdpa
from bench.framework import EPS, Framework, Implementation, of_sum, scores_fit

DTYPES = {"f32": mx.float32, "f16": mx.float16, "bf16": mx.bfloat16}
GELU: dict[Approximate, Callable[[mx.array], mx.array]] = {"none": gelu, "tanh": gelu_approx}


class Mlx(Framework):
    """MLX with its default device set to the one that is timed."""

    name: ClassVar[str] = "mlx"

    def __init__(self, device: str) -> None:
        super().__init__(device)
        mx.set_default_device(mx.gpu if device == "mlx-gpu" else mx.cpu)
        # A GPU is kept busy by groups of calls, as by a model. On the CPU each call is waited for, because building the
        # graph of the next would compete with the operator for the cores.
        self._evaluate: Callable[[list[Any]], None] = mx.eval if self.on_cpu else mx.async_eval
        self._group = 1 if self.on_cpu else 16

    def array(self, values: np.ndarray, dtype: str) -> mx.array:
        array = mx.array(values).astype(DTYPES[dtype])
        mx.eval(array)
        return array

    def to_numpy(self, array: mx.array) -> np.ndarray:
        return np.array(array.astype(mx.float32))

    def implementations(self, case: Case, compiled: bool) -> dict[str, Implementation]:
        found = BUILDERS[type(case)](case)
        if compiled:
            found["mx.compile"] = mx.compile(found[self.name])
        return found

    def run(self, call: Callable[[], Any], repeats: int, lazy: bool = False) -> None:
        if lazy:
            for _ in range(repeats):
                call()
            return
        for first in range(0, repeats, self._group):
            self._evaluate([call() for _ in range(min(self._group, repeats - first))])
        mx.synchronize()

    def copy(self, array: mx.array) -> mx.array:
        return -array  # MLX shares memory between equal arrays, so a copy has to change something

    def device_name(self) -> str | None:
        return str(mx.device_info(mx.gpu)["device_name"]) if self.device == "mlx-gpu" else None


def _rms_norm(case: RmsNorm) -> dict[str, Implementation]:
    def composite(x: mx.array, weight: mx.array) -> mx.array:
        wide = x.astype(mx.float32)
        return (wide * mx.rsqrt(mx.mean(wide.square(), -1, keepdims=True) + EPS)).astype(x.dtype) * weight

    def own(x: mx.array, weight: mx.array) -> mx.array:
        return mx.fast.rms_norm(x, weight, EPS)

    if case.residual:
        return {
            "fusedops": lambda x, weight, residual: fusedops.rms_norm(x, weight, EPS, residual=residual),
            "mlx": of_sum(own),
            "composite": of_sum(composite),
        }
    return {"fusedops": lambda x, weight: fusedops.rms_norm(x, weight, EPS), "mlx": own, "composite": composite}


def _gelu(case: Gelu) -> dict[str, Implementation]:
    return {
        "fusedops": lambda x: fusedops.gelu(x, approximate=case.approximate),
        "mlx": GELU[case.approximate],
    }


def _geglu(case: Geglu) -> dict[str, Implementation]:
    activation = GELU[case.approximate]
    return {
        "fusedops": lambda gate, up: fusedops.geglu(gate, up, approximate=case.approximate),
        "mlx": lambda gate, up: activation(gate) * up,
    }


def _sdpa(case: Sdpa) -> dict[str, Implementation]:
    scale = case.head_dim**-0.5
    mask = "causal" if case.causal else None

    def matmul_softmax(q: mx.array, k: mx.array, v: mx.array) -> mx.array:
        # The query heads of one kv head form a dimension of their own, so that K and V are broadcast to them.
        grouped = mx.unflatten(q, 1, (case.kv_heads, -1))
        scores = grouped @ mx.expand_dims(k, 2).swapaxes(-1, -2) * scale
        if case.causal:
            visible = mx.tril(mx.ones(scores.shape[-2:], dtype=mx.bool_))
            scores = mx.where(visible, scores, mx.array(-float("inf"), scores.dtype))
        weights = mx.softmax(scores, axis=-1, precise=True)
        return mx.flatten(weights @ mx.expand_dims(v, 2), 1, 2)

    found: dict[str, Implementation] = {
        "fusedops": lambda q, k, v: fusedops.sdpa(q, k, v, causal=case.causal),
        "mlx": lambda q, k, v: mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=mask),
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
