"""One line of the report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One implementation of one case. All keys are in the JSON of every row, null where they mean nothing.

    op: the function of fusedops. case: the shape and the flags. dtype: "f32", "f16" or "bf16".
    device: "cpu", "cuda" or "mps" (torch), "mlx-cpu" or "mlx-gpu" (MLX).
    impl: "fusedops"; the framework's own operator, "torch" or "mlx"; "composite" or "matmul+softmax" by hand;
        "torch.compile" or "mx.compile", the framework's own through its compiler; "kernel", fusedops' kernel alone,
        timed by itself, its outputs the same in every call: what "fusedops" takes longer is the call, and memory that
        is new to it.
    median_s, spread: see bench.timing.Timing.
    gbps: compulsory bytes / median_s. gflops: operations of the matrix products / median_s; null without any.
    limit_share: prefill's gflops / the multiply-add or matmul rate; decode's gbps / the bandwidth of reading as many
        bytes; else gbps / the bandwidth of a copy of as many bytes.
    gbps, gflops and limit_share are null in the overhead suite, where next to nothing is computed.
    ratio: the framework's own operator's median_s / this one's: above 1 is faster.
    """

    op: str
    case: str
    dtype: str
    device: str
    impl: str
    median_s: float
    spread: float
    gbps: float | None
    gflops: float | None
    limit_share: float | None
    ratio: float
