"""MLX's own attention kernels, as MLX launches them on an Apple GPU, for the simulator and for CUDA.

The kernels come from the headers inside the mlx package. Which of them MLX takes, with which tiles, constants and
geometry, is what its host code (mlx/backend/metal/scaled_dot_product_attention.cpp at the time of version 0.32.4)
does on GPUs without Metal 4's tensor operations.
"""

from __future__ import annotations

import struct
from importlib.util import find_spec
from pathlib import Path

import ml_dtypes
import numpy as np

from fusedops.sim.run import BoundLaunch, Buffer

METAL_TYPES = {np.dtype(np.float32): "float", np.dtype(np.float16): "half", np.dtype(ml_dtypes.bfloat16): "bfloat"}
KERNELS = Path("mlx/backend/metal/kernels")

MOST_VECTOR_QUERIES = 8
PREFILL_HEAD_DIMS = (64, 72, 80, 96, 128)
VECTOR_HEAD_DIMS = (64, 96, 128, 256)
QUERY_TILE = 32
SIMD = 32
VECTOR_THREADS = 1024

ARCHITECTURE = "s"
"""The last letter of a GPU's architecture, by which MLX chooses: "s" is a Max, "d" an Ultra, "g" the smaller ones."""

Launches = tuple[list[BoundLaunch], np.ndarray]
"""In their order, and the array that holds the output once they have run."""


def installed_headers() -> Path | None:
    """The include directory of the mlx package; None: it is not installed, or has no kernels' headers."""
    package = find_spec("mlx")
    for folder in (package and package.submodule_search_locations) or ():
        if (Path(folder) / "include" / KERNELS).is_dir():
            return Path(folder) / "include"
    return None


def sdpa(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    *,
    causal: bool,
    include: Path,
    architecture: str = ARCHITECTURE,
) -> Launches:
    """What mx.fast.scaled_dot_product_attention launches for contiguous arrays without a mask.

    q is (batch, query_heads, query_length, head_dim), k and v (batch, kv_heads, key_length, head_dim). ValueError: a
    head_dim for which MLX has no fused kernel, or does not take it.
    """
    query_length, head_dim = q.shape[2:]
    supported = PREFILL_HEAD_DIMS if query_length > MOST_VECTOR_QUERIES else VECTOR_HEAD_DIMS
    if head_dim not in supported:
        raise ValueError(f"q: expected a head_dim of {', '.join(map(str, supported))}, got {head_dim}")
    if query_length > MOST_VECTOR_QUERIES:
        return _steel_attention(q, k, v, causal, include)
    heads, kv_heads, key_length = q.shape[1], k.shape[1], k.shape[2]
    causal = causal and query_length > 1
    if (architecture in "ds" and key_length >= 1024) or (kv_heads < heads and key_length >= 4096):
        return _vector_in_two_passes(q, k, v, causal, include, architecture)
    return _vector(q, k, v, causal, include)


def _steel_attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, causal: bool, include: Path) -> Launches:
    batch, heads, query_length, head_dim = q.shape
    key_length = k.shape[2]
    key_tile = 32 if head_dim < 128 else 16
    out = np.full((batch, query_length, heads, head_dim), np.nan, q.dtype).transpose(0, 2, 1, 3)
    query_tiles, query_rest = divmod(query_length, QUERY_TILE)
    key_tiles, key_rest = divmod(key_length, key_tile)
    group = heads // k.shape[1]
    parameters = struct.pack(
        "6if7i12q",
        *(batch, heads, head_dim, query_length, key_length, group, head_dim**-0.5),
        *(query_tiles + bool(query_rest), key_tiles + bool(key_rest), query_tiles, key_tiles),
        *(query_rest, key_rest, key_length - query_length),
        *(stride // q.itemsize for array in (q, k, v, out) for stride in array.strides[:-1]),
    )
    kernel = f"attention<{METAL_TYPES[q.dtype]}, {QUERY_TILE}, {key_tile}, {head_dim}, {head_dim}, 4, 1>"
    launch = BoundLaunch(
        text=_text("steel/attn/kernels/steel_attention.h", kernel),
        include=(include,),
        kernel=kernel,
        buffers={0: q, 1: k, 2: v, 3: out.transpose(0, 2, 1, 3), 4: parameters},
        threadgroups=(query_tiles + bool(query_rest), heads, batch),
        threads_per_threadgroup=(SIMD, 4, 1),
        constants={"align_Q": not query_rest, "align_K": not key_rest, "do_causal": causal},
    )
    return [launch], out


def _vector(q: np.ndarray, k: np.ndarray, v: np.ndarray, causal: bool, include: Path) -> Launches:
    batch, heads, query_length, head_dim = q.shape
    out = np.full(q.shape, np.nan, q.dtype)
    kernel = f"sdpa_vector<{METAL_TYPES[q.dtype]}, {head_dim}, {head_dim}>"
    arguments: list[Buffer] = [q, k, v, out, np.int32(heads // k.shape[1]), *_sizes(k, v, head_dim)]
    launch = BoundLaunch(
        text=_text("sdpa_vector.h", kernel),
        include=(include,),
        kernel=kernel,
        buffers=dict(enumerate(arguments)),
        threadgroups=(batch * heads, query_length, 1),
        threads_per_threadgroup=(VECTOR_THREADS, 1, 1),
        constants={"do_causal": causal},
    )
    return [launch], out


def _vector_in_two_passes(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, causal: bool, include: Path, architecture: str
) -> Launches:
    batch, heads, query_length, head_dim = q.shape
    kv_heads, key_length = k.shape[1:3]
    group = heads // kv_heads
    blocks = _blocks(key_length, group * query_length, architecture)
    out = np.full(q.shape, np.nan, q.dtype)
    partials = np.full((*q.shape[:-1], blocks, head_dim), np.nan, q.dtype)
    sums, maxima = (np.full((*q.shape[:-1], blocks), np.nan, np.float32) for _ in range(2))
    dtype = METAL_TYPES[q.dtype]
    # MLX has a kernel that reads K and V fewer times, for these groups only.
    is_grouped = query_length == 1 and group == 8 and head_dim in (64, 128) and key_length >= 8192
    first, last = f"sdpa_vector_2pass_1<{dtype}, {head_dim}, {head_dim}>", f"sdpa_vector_2pass_2<{dtype}, {head_dim}>"
    if query_length == 1 and group in (12, 16) and head_dim == 128 and key_length >= 8192:
        raise ValueError(f"q: expected any group of query heads but 12 and 16, whose tiles are not known, got {group}")
    if is_grouped:
        heads_per_thread = 8 if head_dim == 64 else 4
        first = f"sdpa_vector_2pass_1_gqa<{dtype}, {head_dim}, {head_dim}, {group}, {heads_per_thread}>"
    arrays = dict(enumerate([q, k, v, partials, sums, maxima]))
    scalars = dict(enumerate(_sizes(k, v, head_dim), start=7))
    launches = [
        BoundLaunch(
            text=_text("sdpa_vector.h", first),
            include=(include,),
            kernel=first,
            buffers=arrays | scalars,
            threadgroups=(kv_heads, batch, blocks),
            threads_per_threadgroup=(SIMD, group, query_length),
            constants={} if is_grouped else {"do_causal": causal, "blocks": blocks},
        ),
        BoundLaunch(
            text=_text("sdpa_vector.h", last),
            include=(include,),
            kernel=last,
            buffers=dict(enumerate([partials, sums, maxima, out, np.int32(blocks)])),
            threadgroups=(batch * heads, query_length, 1),
            threads_per_threadgroup=(VECTOR_THREADS, 1, 1),
        ),
    ]
    return launches, out


def _blocks(key_length: int, simdgroups: int, architecture: str) -> int:
    """Into how many parts MLX splits the keys; `simdgroups` are those of a threadgroup."""
    if architecture == "s":
        if key_length <= 1024 or simdgroups <= 4:
            return 64
        return next(
            (blocks for limit, blocks in ((8192, 128), (32768, 256), (65536, 512)) if key_length <= limit), 1024
        )
    if architecture == "d":
        if simdgroups <= 2 and key_length > 8192:
            return 256
        if simdgroups >= 6 and key_length >= 16384:
            return 512 if key_length < 65536 else 1024
        return 128
    return 64 if simdgroups >= 4 else 32


def _sizes(k: np.ndarray, v: np.ndarray, head_dim: int) -> list[Buffer]:
    """The number of keys, the strides of heads and keys, and the scale."""
    strides = [stride // array.itemsize for array in (k, v) for stride in array.strides[1:3]]
    return [np.int32(k.shape[2]), *map(np.uint64, strides), np.float32(head_dim**-0.5)]


def _text(header: str, kernel: str) -> str:
    includes = [f'#include "{KERNELS / name}"' for name in ("utils.h", header)]
    return "\n".join([*includes, f'template [[host_name("{kernel}")]] [[kernel]] decltype({kernel}) {kernel};'])
