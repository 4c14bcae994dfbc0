"""Times the Metal kernels, translated to CUDA, on an NVIDIA GPU, beside copies of the same bytes and torch's operators.

    python bench/metal_on_cuda.py

The text of the kernels is what a Mac compiles; how fast they are here says nothing certain about Apple GPUs. But a
memory-bound kernel that does not reach a good share of the copy bandwidth has a weakness that it may well have there.
Needs torch with CUDA, and nvcc.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

import fusedops
from fusedops.backends import numpy as numpy_backend
from fusedops.sim import cuda
from fusedops.sim.run.arguments import AtOffset

Array = NDArray[Any]
LAUNCHES, ROUNDS = 20, 7


@dataclass(frozen=True)
class Measurement:
    """One call: what to plan, on which arrays, what it must move and multiply, and what torch has instead."""

    name: str
    plan: Callable[..., Any]  # of the arrays' layouts
    arrays: dict[str, Array]
    peer: Callable[..., Any]  # of the arrays as torch tensors
    compulsory_bytes: int
    flops: int = 0


def measurements() -> Iterator[Measurement]:
    """Yield the calls that are timed."""
    for rows in (2048, 65536):
        x, weight = normal(rows, 4096), normal(4096)
        residual = normal(rows, 4096)
        size = f"{rows}x4096"
        rms_peer = functools.partial(_torch_rms_norm, 4096)
        yield Measurement(f"rms_norm {size}", fusedops.rms_norm, {"x": x, "weight": weight}, rms_peer, 2 * x.nbytes)
        yield Measurement(
            f"add+rms_norm {size}",
            fusedops.rms_norm,
            {"x": x, "weight": weight, "residual": residual},
            rms_peer,
            4 * x.nbytes,
        )
        yield Measurement(f"gelu {size}", fusedops.gelu, {"x": x}, F.gelu, 2 * x.nbytes)
        tanh = functools.partial(fusedops.gelu, approximate="tanh")
        yield Measurement(f"gelu tanh {size}", tanh, {"x": x}, lambda x: F.gelu(x, approximate="tanh"), 2 * x.nbytes)
        yield Measurement(
            f"geglu {size}",
            fusedops.geglu,
            {"gate": x, "up": residual},
            lambda gate, up: F.gelu(gate) * up,
            3 * x.nbytes,
        )
    for batch, query_heads, kv_heads, keys in (
        (1, 32, 8, 4096),
        (1, 32, 8, 32768),
        (1, 32, 32, 32768),
        (16, 32, 8, 8192),
    ):
        q, k, v = normal(batch, query_heads, 1, 128), *(normal(batch, kv_heads, keys, 128) for _ in "kv")
        name = f"decode B{batch} H{query_heads}/{kv_heads} KV{keys}"
        yield Measurement(name, fusedops.sdpa, {"q": q, "k": k, "v": v}, _torch_sdpa, k.nbytes + v.nbytes)
    for batch, heads, length, dim in ((1, 32, 2048, 128), (2, 16, 2048, 64)):
        q, k, v = (normal(batch, heads, length, dim) for _ in "qkv")
        name = f"prefill B{batch} H{heads} L{length} D{dim}"
        flops = 4 * batch * heads * length * length * dim
        yield Measurement(name, fusedops.sdpa, {"q": q, "k": k, "v": v}, _torch_sdpa, 4 * q.nbytes, flops)


def _torch_rms_norm(columns: int, x: Any, weight: Any, residual: Any = None) -> Any:
    return F.rms_norm(x if residual is None else x + residual, (columns,), weight, 1e-6)


def _torch_sdpa(q: Any, k: Any, v: Any) -> Any:
    return F.scaled_dot_product_attention(q, k, v, enable_gqa=q.shape[1] != k.shape[1])


def normal(*shape: int) -> Array:
    """Return random bfloat16 values; a short sequence, repeated, so that large arrays are made quickly."""
    values = np.random.default_rng(shape).standard_normal(1 << 20, np.float32).astype(ml_dtypes.bfloat16)
    return np.resize(values, shape)


@functools.cache
def library(text: str) -> cuda.CudaLibrary:
    """Return the translated kernels of a launch."""
    return cuda.build(text)


def kernel_seconds(measurement: Measurement) -> float:
    """Return the time of all launches of the plan."""
    layouts = {name: numpy_backend.layout(array) for name, array in measurement.arrays.items()}
    plan = measurement.plan(**layouts)
    order = {"rms_norm": ("x", "weight", "residual"), "gelu": ("x", "bias"), "geglu": ("gate", "up")}
    kind = plan.launches[0].source
    inputs = [measurement.arrays.get(name) for name in order.get(kind, ("q", "k", "v", "mask", "sinks"))]
    by_role = {
        "INPUT": inputs,
        "OUTPUT": [np.zeros(shape, ml_dtypes.bfloat16) for _, shape in plan.outputs],
        "SCRATCH": [np.ones(shape, np.float32) for _, shape in plan.scratch],
    }
    total = 0.0
    for launch in plan.launches:
        buffers = [AtOffset(by_role[binding.role.name][binding.index], 0) for binding in launch.buffers]
        total += library(launch.text).time(
            launch.name,
            [*buffers, launch.parameters],
            threadgroups=launch.threadgroups,
            threads_per_threadgroup=launch.threads_per_threadgroup,
            launches=LAUNCHES,
            rounds=ROUNDS,
        )
    return total


def torch_seconds(run: Callable[[], Any]) -> float:
    """Return the least time per call over several rounds, in a CUDA graph: launches cost more than small calls."""
    run()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(LAUNCHES):
            run()
    seconds = []
    for _ in range(ROUNDS + 1):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        stop.record()
        torch.cuda.synchronize()
        seconds.append(start.elapsed_time(stop) / LAUNCHES / 1e3)
    return min(seconds[1:])


def copy_seconds(num_bytes: int) -> float:
    """Return the time of a copy that reads and writes `num_bytes` together: the driver's, or a kernel's if faster."""
    source = torch.empty(num_bytes // 4, dtype=torch.int16, device="cuda")
    target = torch.empty_like(source)
    by_driver = torch_seconds(lambda: target.copy_(source))
    return min(by_driver, torch_seconds(lambda: torch.bitwise_not(source, out=target)))


def main() -> None:
    """Print the table."""
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, bfloat16; least of {ROUNDS} rounds")
    print(f"{'':34} {'us':>8} {'GB/s':>6} {'of copy':>8} {'TFLOP/s':>8} {'torch us':>9} {'torch/ours':>10}")
    for measurement in measurements():
        ours = kernel_seconds(measurement)
        tensors = {
            name: torch.from_numpy(array.view(np.int16)).view(torch.bfloat16).cuda()
            for name, array in measurement.arrays.items()
        }
        peer = torch_seconds(lambda: measurement.peer(**tensors))  # noqa: B023
        copy = copy_seconds(measurement.compulsory_bytes)
        bandwidth = measurement.compulsory_bytes / ours / 1e9
        rate = f"{measurement.flops / ours / 1e12:8.1f}" if measurement.flops else f"{'':8}"
        print(
            f"{measurement.name:34} {ours * 1e6:8.1f} {bandwidth:6.0f} {copy / ours:8.0%} {rate} {peer * 1e6:9.1f} "
            f"{peer / ours:10.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
