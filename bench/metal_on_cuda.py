"""Times the Metal kernels, translated to CUDA, on an NVIDIA GPU.

    python bench/metal_on_cuda.py                     # all of it
    python bench/metal_on_cuda.py attention --dtype f16 --mlx-headers /path/to/mlx/include

Attention runs beside MLX's own Metal kernels on the same problems, translated alike, their function constants compiled
in as Metal does; packed sequences beside each of them alone; rms_norm, gelu and geglu beside copies of the same bytes;
all beside torch's operators. How fast they are here says nothing certain about Apple GPUs. But a memory-bound kernel
that does not reach a good share of the copy bandwidth, or does worse than another kernel through the same translation,
has a weakness that it may well have there. Attention's results are checked against float64 first. Needs torch with
CUDA, and nvcc.
"""

from __future__ import annotations

import argparse
import functools
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import ml_dtypes
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

if not __package__:  # run as a script: Python then looks for modules in bench/ instead of beside it
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import fusedops
from bench.cases import ITEM_SIZES, Sdpa, decode, prefill
from bench.counting import DTYPES, Implementation, fusedops_launches, mlx_launches, random_arrays
from bench.mlx_kernels import installed_headers
from bench.reference import check
from fusedops.backends import numpy as numpy_backend
from fusedops.sim import cuda
from fusedops.sim.plans import bind_plan
from fusedops.sim.run import BoundLaunch

Array = NDArray[Any]
LAUNCHES, ROUNDS = 20, 7
TORCH_DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


# --- operators on rows


@dataclass(frozen=True)
class RowCall:
    """One call: what to plan, on which arrays, and what torch has instead."""

    name: str
    plan: Callable[..., Any]  # of the arrays' layouts
    arrays: dict[str, Array | None]  # all that the operator takes, in its order
    peer: Callable[..., Any]  # of the arrays as torch tensors

    @property
    def compulsory_bytes(self) -> int:
        """Every large array read once; as many outputs as there are residual streams written once."""
        large = [array for array in self.arrays.values() if array is not None and array.ndim > 1]
        outputs = 2 if self.arrays.get("residual") is not None else 1
        return (len(large) + outputs) * large[0].nbytes


def row_calls() -> Iterator[RowCall]:
    """Yield the calls that are timed, in bfloat16."""
    for rows in (2048, 65536):
        x, residual, weight = normal(rows, 4096), normal(rows, 4096), normal(4096)
        size = f"{rows}x4096"
        norm = {"x": x, "weight": weight, "residual": None}
        yield RowCall(f"rms_norm {size}", fusedops.rms_norm, norm, _torch_rms_norm)
        yield RowCall(f"add+rms_norm {size}", fusedops.rms_norm, norm | {"residual": residual}, _torch_rms_norm)
        gelu = {"x": x, "bias": None}
        yield RowCall(f"gelu {size}", fusedops.gelu, gelu, F.gelu)
        tanh = functools.partial(fusedops.gelu, approximate="tanh")
        yield RowCall(f"gelu tanh {size}", tanh, gelu, functools.partial(F.gelu, approximate="tanh"))
        halves = {"gate": x, "up": residual}
        yield RowCall(f"geglu {size}", fusedops.geglu, halves, lambda gate, up: F.gelu(gate) * up)


def _torch_rms_norm(x: torch.Tensor, weight: torch.Tensor, residual: torch.Tensor | None = None) -> torch.Tensor:
    return F.rms_norm(x if residual is None else x + residual, weight.shape, weight, 1e-6)


def normal(*shape: int) -> Array:
    """Return random bfloat16 values; a short sequence, repeated, so that large arrays are made quickly."""
    values = np.random.default_rng(shape).standard_normal(1 << 20, np.float32).astype(ml_dtypes.bfloat16)
    return np.resize(values, shape)


def time_rows() -> None:
    """Print the table of operators on rows."""
    print(f"bfloat16\n{'':24} {'us':>8} {'GB/s':>6} {'of copy':>8} {'torch us':>9} {'torch/ours':>10}")
    for call in row_calls():
        given = {name: array for name, array in call.arrays.items() if array is not None}
        plan = call.plan(**{name: numpy_backend.layout(array) for name, array in given.items()})
        ours = launches_seconds(bind_plan(plan, list(call.arrays.values()))[0])
        tensors = {name: as_tensor(array, "bf16") for name, array in given.items()}
        peer = torch_seconds(functools.partial(call.peer, **tensors))
        copy = copy_seconds(call.compulsory_bytes)
        print(
            f"{call.name:24} {ours * 1e6:8.1f} {call.compulsory_bytes / ours / 1e9:6.0f} {copy / ours:8.0%} "
            f"{peer * 1e6:9.1f} {peer / ours:10.2f}",
            flush=True,
        )


# --- attention


def attention_cases() -> list[Sdpa]:
    """Prompts, causal and not, with and without GQA; one query to short and long caches, alone and in a batch."""
    few = decode(8192)
    return [
        *(prefill(2048, head_dim=head_dim, causal=causal) for head_dim in (128, 64) for causal in (True, False)),
        prefill(512),
        prefill(4096),
        prefill(1024, heads=(12, 12), head_dim=64),
        *map(decode, (512, 1024, 4096, 32768)),
        replace(few, key_length=32768, kv_heads=32),
        replace(few, batch=16),
        replace(few, head_dim=64),
    ]


def time_attention(dtype: str, mlx_headers: Path | None) -> None:
    """Print the table of attention, and the geometric means of prefill and decode. Raises bench.reference.WrongResult.

    Above 1 in the columns MLX/ours and torch/ours fusedops is faster.
    """
    print(f"{dtype}\n{'':42} {'us':>8} {'GB/s':>6} {'TFLOP/s':>8} {'MLX us':>8} {'MLX/ours':>8} {'torch/ours':>10}")
    implementations: dict[str, Implementation] = {"fusedops": fusedops_launches}
    if mlx_headers:
        implementations["mlx"] = mlx_launches(mlx_headers)
    ratios: dict[str, list[float]] = {}
    for case in attention_cases():
        arrays = random_arrays(case, dtype)
        seconds = {name: attention_seconds(case, dtype, arrays, name, of) for name, of in implementations.items()}
        ours, peer = seconds["fusedops"], seconds.get("mlx")
        tensors = [as_tensor(array, dtype) for array in arrays]
        by_torch = torch_seconds(functools.partial(_torch_sdpa, *tensors, is_causal=case.causal))
        if peer:
            ratios.setdefault(case.kind, []).append(peer / ours)
        print(
            f"{case.name:42} {ours * 1e6:8.1f} {case.bytes_moved(ITEM_SIZES[dtype]) / ours / 1e9:6.0f} "
            f"{case.flops / ours / 1e12:8.1f} {f'{peer * 1e6:8.1f} {peer / ours:8.2f}' if peer else '':17} "
            f"{by_torch / ours:10.2f}",
            flush=True,
        )
    for kind, of_kind in ratios.items():
        print(f"{kind}, MLX/ours: geometric mean {geometric_mean(of_kind):.2f}, least {min(of_kind):.2f}")


def attention_seconds(case: Sdpa, dtype: str, arrays: list[Array], name: str, launches_of: Implementation) -> float:
    """Return the time of an implementation's launches, after a check of what they compute."""
    launches, out = launches_of(case, arrays)
    for launch in launches:
        _alone(launch).on(library(launch).run)
    check(case, dtype, [array.astype(np.float32) for array in arrays], {name: [out.astype(np.float32)]})
    return launches_seconds(launches)


def _torch_sdpa(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, is_causal: bool) -> torch.Tensor:
    return F.scaled_dot_product_attention(q, k, v, is_causal=is_causal, enable_gqa=q.shape[1] != k.shape[1])


# --- packed sequences


HEADS, HEAD_DIM = (32, 8), 128


@dataclass(frozen=True)
class Packed:
    """Causal attention of packed sequences."""

    name: str
    lengths: tuple[tuple[int, int], ...]  # queries and keys of each sequence

    def arrays(self, dtype: str) -> list[Array | None]:
        """Return what sdpa_varlen takes, in its order."""
        starts = np.concatenate([[[0, 0]], np.cumsum(self.lengths, 0)]).astype(np.int32)
        (queries, keys), (query_heads, kv_heads) = starts[-1], HEADS
        random = np.random.default_rng(zlib.crc32(self.name.encode()))
        shapes = ((queries, query_heads, HEAD_DIM), *2 * [(keys, kv_heads, HEAD_DIM)])
        packed = [random.standard_normal(shape, np.float32).astype(DTYPES[dtype]) for shape in shapes]
        return [*packed, *np.ascontiguousarray(starts.T), None]

    def launches(self, dtype: str) -> list[BoundLaunch]:
        """Return the launches of all sequences together."""
        arrays = self.arrays(dtype)
        longest = dict(zip(("max_seqlen_q", "max_seqlen_k"), np.max(self.lengths, 0).tolist(), strict=True))
        layouts = [numpy_backend.layout(array) for array in arrays[:-1]]
        return bind_plan(fusedops.sdpa_varlen(*layouts, causal=True, **longest), arrays)[0]

    def seconds_one_by_one(self, dtype: str) -> float:
        """Return the time of sdpa of each sequence, one after the other; those of equal lengths take equal time."""
        total = 0.0
        for queries, keys in set(self.lengths):
            case = replace(prefill(queries, heads=HEADS, head_dim=HEAD_DIM), key_length=keys)
            launches, _ = fusedops_launches(case, random_arrays(case, dtype))
            total += self.lengths.count((queries, keys)) * launches_seconds(launches)
        return total


PACKED = [
    Packed("4 prompts of 1024", ((1024, 1024),) * 4),
    Packed("a prompt of 4096, 63 of 32", ((4096, 4096), *((32, 32),) * 63)),
    Packed("16 decoded with 8192 keys", ((1, 8192),) * 16),
    Packed("64 decoded, one with 32768 keys, 63 with 512", ((1, 32768), *((1, 512),) * 63)),
]


def time_packed(dtype: str) -> None:
    """Print the table of packed sequences."""
    print(f"{dtype}\n{'packed':46} {'us':>8} {'one by one us':>14} {'one by one/packed':>18}")
    for case in PACKED:
        packed, one_by_one = launches_seconds(case.launches(dtype)), case.seconds_one_by_one(dtype)
        print(f"{case.name:46} {packed * 1e6:8.1f} {one_by_one * 1e6:14.1f} {one_by_one / packed:18.2f}", flush=True)


# --- clocks


def library(launch: BoundLaunch) -> cuda.CudaLibrary:
    """Return the translated kernel of a launch, its function constants compiled in."""
    return _library(launch.text, launch.include, tuple(launch.constants.items()))


@functools.cache
def _library(text: str, include: tuple[Path, ...], constants: tuple[tuple[str, Any], ...]) -> cuda.CudaLibrary:
    return cuda.build(text, include=include, constants=dict(constants))


def _alone(launch: BoundLaunch) -> BoundLaunch:
    """The launch without the constants that are compiled in."""
    return replace(launch, constants={})


def launches_seconds(launches: Sequence[BoundLaunch]) -> float:
    """Return the time of all launches of a call."""
    times = [_alone(launch).on(library(launch).time, launches=LAUNCHES, rounds=ROUNDS) for launch in launches]
    return sum(times)


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


def as_tensor(array: Array, dtype: str) -> torch.Tensor:
    """Return a copy on the GPU. torch takes no bfloat16 from numpy, but its bits."""
    bits = array.view({2: np.int16, 4: np.int32}[array.itemsize])
    return torch.from_numpy(bits).view(TORCH_DTYPES[dtype]).cuda()


def main(argv: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="bench/metal_on_cuda.py", description="Times the Metal kernels as CUDA.")
    parser.add_argument("what", nargs="?", choices=("rows", "attention", "packed", "all"), default="all")
    parser.add_argument("--dtype", choices=ITEM_SIZES, default="f16", help="of attention; default: %(default)s")
    parser.add_argument(
        "--mlx-headers",
        type=Path,
        default=installed_headers(),
        metavar="DIR",
        help="the include folder of an mlx package, whose kernels run beside; default: that of the installed one",
    )
    options = parser.parse_args(argv)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}; least of {ROUNDS} rounds")
    if options.what in ("rows", "all"):
        time_rows()
    if options.what in ("attention", "all"):
        time_attention(options.dtype, options.mlx_headers)
    if options.what in ("packed", "all"):
        time_packed(options.dtype)


if __name__ == "__main__":
    main()
