"""The simulator's fidelity: MLX's own kernels, which Apple's compiler accepts, unmodified.

They come from the headers inside the installed mlx package, are instantiated by text, and run with all checks on in
three orders. Each must agree with numpy and give no finding.
"""

import importlib.util
import struct
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from fusedops.sim import ORDERS, Library
from fusedops.sim.run import Source, build_many

Array = NDArray[Any]

SPEC = importlib.util.find_spec("mlx")
INCLUDE = Path(next(iter(SPEC.submodule_search_locations or ()))) / "include" if SPEC else Path("nowhere")
KERNELS = INCLUDE / "mlx/backend/metal/kernels"
pytestmark = pytest.mark.skipif(not KERNELS.exists(), reason="this mlx package carries no kernel headers")

half, bfloat, single = np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16), np.dtype(np.float32)
METAL_TYPE = {half: "half", bfloat: "bfloat", single: "float"}
TOLERANCE = {half: 3e-3, bfloat: 2e-2, single: 2e-5}
EVERY_ORDER = pytest.mark.parametrize("order", ORDERS)

# source: (headers, instantiated kernels)
SOURCES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "rows": (
        ("softmax.h", "logsumexp.h"),
        (
            "softmax_single_row<half>",
            "softmax_single_row<bfloat, float>",
            "softmax_looped<half, float>",
            "logsumexp<float>",
            "logsumexp_looped<bfloat>",
        ),
    ),
    "sdpa_vector": (
        ("sdpa_vector.h",),
        (
            "sdpa_vector<half, 64, 64>",
            "sdpa_vector<bfloat, 64, 64>",
            "sdpa_vector_2pass_1<half, 64, 64>",
            "sdpa_vector_2pass_1_gqa<half, 64, 64, 8, 8>",
            "sdpa_vector_2pass_2<half, 64>",
        ),
    ),
    "steel_attention": (
        ("steel/attn/kernels/steel_attention.h",),
        ("attention<half, 32, 32, 64, 64, 4, 1, bool>", "attention<bfloat, 32, 16, 128, 128, 4, 1>"),
    ),
    "steel_gemm": (
        ("steel/gemm/gemm.h", "steel/gemm/kernels/steel_gemm_fused.h"),
        ("gemm<half, 32, 32, 16, 2, 2, false, true>", "gemm<float, 32, 32, 16, 2, 2, true, false>"),
    ),
    "quantized": (
        ("steel/gemm/gemm.h", "quantized_utils.h", "quantized.h"),
        ("affine_qmv_fast<half, 64, 4, false>", "affine_qmm_t<half, 64, 4, true, false>"),
    ),
}


def metal_text(headers: tuple[str, ...], kernels: tuple[str, ...]) -> str:
    lines = [f'#include "mlx/backend/metal/kernels/{header}"' for header in ("utils.h", *headers)]
    lines += [f'template [[host_name("{kernel}")]] [[kernel]] decltype({kernel}) {kernel};' for kernel in kernels]
    return "\n".join(lines)


@cache
def library(name: str) -> Library:
    return build_many([Source(metal_text(*SOURCES[name]), include=[INCLUDE], check=True)])[0]


def normal(dtype: np.dtype[Any], *shape: int, scale: float = 1) -> Array:
    random = np.random.default_rng(shape)
    return (random.standard_normal(shape) * scale).astype(dtype)


def poisoned(dtype: np.dtype[Any], *shape: int) -> Array:
    return np.full(shape, np.nan, dtype)


def assert_close(actual: Array, expected: Array, factor: float = 1) -> None:
    tolerance = factor * TOLERANCE[actual.dtype]
    np.testing.assert_allclose(actual.astype(np.float64), expected, rtol=tolerance, atol=tolerance)


def ceiling(n: int, unit: int) -> int:
    return -(-n // unit)


# --- rows


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(-1, keepdims=True))
    result: Array = e / e.sum(-1, keepdims=True)
    return result


def launch_rows(kernel: str, x: Array, out: Array, order: str) -> None:
    """One threadgroup for each row, four elements a thread, as MLX does."""
    rows, length = x.shape
    threads = 32 * ceiling(length, 4 * 32) if "looped" not in kernel else 1024
    library("rows").run(
        kernel, [x, out, np.int32(length)], threadgroups=(rows,), threads_per_threadgroup=(threads,), order=order
    )


@EVERY_ORDER
@pytest.mark.parametrize(
    ("kernel", "dtype", "length"),
    [
        ("softmax_single_row<half>", half, 512),
        ("softmax_single_row<bfloat, float>", bfloat, 509),
        ("softmax_looped<half, float>", half, 4200),
    ],
)
def test_softmax(kernel: str, dtype: np.dtype[Any], length: int, order: str) -> None:
    x, out = normal(dtype, 2, length), poisoned(dtype, 2, length)
    launch_rows(kernel, x, out, order)
    assert_close(out, softmax(x.astype(np.float64)))


@EVERY_ORDER
@pytest.mark.parametrize(
    ("kernel", "dtype", "length"), [("logsumexp<float>", single, 300), ("logsumexp_looped<bfloat>", bfloat, 4100)]
)
def test_logsumexp(kernel: str, dtype: np.dtype[Any], length: int, order: str) -> None:
    x, out = normal(dtype, 2, length), poisoned(dtype, 2)
    launch_rows(kernel, x, out, order)
    assert_close(out, np.log(np.exp(x.astype(np.float64)).sum(-1)))


# --- attention


def attention(q: Array, k: Array, v: Array, causal: bool = False, mask: Array | None = None) -> Array:
    """In float64; q (B, H, L, D), k and v (B, kv_heads, N, D), mask (L, N)."""
    q, k, v = (a.astype(np.float64) for a in (q, k, v))
    k, v = (np.repeat(a, q.shape[1] // k.shape[1], axis=1) for a in (k, v))
    scores = q @ k.swapaxes(2, 3) * q.shape[3] ** -0.5
    if causal:
        mask = np.tri(q.shape[2], k.shape[2], k.shape[2] - q.shape[2], dtype=bool)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf)
    return softmax(scores) @ v


def strides(array: Array) -> list[int]:
    """Of all dimensions but the last, in elements."""
    return [stride // array.itemsize for stride in array.strides[:-1]]


@EVERY_ORDER
@pytest.mark.parametrize(("dtype", "length", "causal"), [(half, 1, False), (bfloat, 3, True)])
def test_sdpa_vector(dtype: np.dtype[Any], length: int, causal: bool, order: str) -> None:
    heads, kv_heads, keys, head_dim = 4, 2, 70, 64
    q, out = normal(dtype, 1, heads, length, head_dim), poisoned(dtype, 1, heads, length, head_dim)
    k, v = normal(dtype, 1, kv_heads, keys, head_dim), normal(dtype, 1, kv_heads, keys, head_dim, scale=0.5)
    sizes = [np.uint64(n) for n in (keys * head_dim, head_dim, keys * head_dim, head_dim)]
    library("sdpa_vector").run(
        f"sdpa_vector<{METAL_TYPE[dtype]}, 64, 64>",
        [q, k, v, out, np.int32(heads // kv_heads), np.int32(keys), *sizes, np.float32(head_dim**-0.5)],
        threadgroups=(heads, length),
        threads_per_threadgroup=(1024,),
        constants={"do_causal": causal},
        order=order,
    )
    assert_close(out, attention(q, k, v, causal))


@EVERY_ORDER
@pytest.mark.parametrize("grouped", [False, True])
def test_sdpa_vector_in_two_passes(grouped: bool, order: str) -> None:
    heads, keys, head_dim, blocks = 8 if grouped else 2, 150, 64, 32
    q, k, v = (
        normal(half, 1, heads, 1, head_dim),
        normal(half, 1, 1, keys, head_dim),
        normal(half, 1, 1, keys, head_dim),
    )
    out, partial = poisoned(half, 1, heads, 1, head_dim), poisoned(half, heads, blocks, head_dim)
    sums, maxima = poisoned(single, heads, blocks), poisoned(single, heads, blocks)
    sizes = [np.uint64(n) for n in (keys * head_dim, head_dim, keys * head_dim, head_dim)]
    library("sdpa_vector").run(
        "sdpa_vector_2pass_1_gqa<half, 64, 64, 8, 8>" if grouped else "sdpa_vector_2pass_1<half, 64, 64>",
        [q, k, v, partial, sums, maxima, None, np.int32(keys), *sizes, np.float32(head_dim**-0.5)],
        threadgroups=(1, 1, blocks),
        threads_per_threadgroup=(32, heads, 1),
        constants={} if grouped else {"blocks": blocks},
        order=order,
    )
    library("sdpa_vector").run(
        "sdpa_vector_2pass_2<half, 64>",
        [partial, sums, maxima, out, np.int32(blocks)],
        threadgroups=(heads, 1),
        threads_per_threadgroup=(1024,),
        order=order,
    )
    assert_close(out, attention(q, k, v))


@EVERY_ORDER
@pytest.mark.parametrize(
    ("kernel", "dtype", "length", "keys", "option"),
    [
        ("attention<half, 32, 32, 64, 64, 4, 1, bool>", half, 40, 70, "causal"),
        ("attention<half, 32, 32, 64, 64, 4, 1, bool>", half, 32, 64, "masked"),
        ("attention<bfloat, 32, 16, 128, 128, 4, 1>", bfloat, 33, 48, ""),
    ],
)
def test_steel_attention(kernel: str, dtype: np.dtype[Any], length: int, keys: int, option: str, order: str) -> None:
    heads, kv_heads = 2, 1
    head_dim, block_q, block_k = (64, 32, 32) if dtype == half else (128, 32, 16)
    q, out = normal(dtype, 1, heads, length, head_dim), poisoned(dtype, 1, heads, length, head_dim)
    k, v = normal(dtype, 1, kv_heads, keys, head_dim), normal(dtype, 1, kv_heads, keys, head_dim, scale=0.5)
    mask = np.random.default_rng(0).random((length, keys)) < 0.7
    shape = (1, heads, head_dim, length, keys, heads // kv_heads, head_dim**-0.5)
    blocks = (ceiling(length, block_q), ceiling(keys, block_k), length // block_q, keys // block_k)
    rest = (length % block_q, keys % block_k, keys - length)
    parameters = struct.pack("6if7i", *shape, *blocks, *rest)
    parameters += struct.pack("12q", *strides(q), *strides(k), *strides(v), *strides(out))
    mask_strides = struct.pack("3q", 0, 0, keys)
    library("steel_attention").run(
        kernel,
        [q, k, v, out, parameters, *((mask_strides, mask) if option == "masked" else ())],
        threadgroups=(ceiling(length, block_q), heads, 1),
        threads_per_threadgroup=(32, 4, 1),
        constants={
            "align_Q": length % block_q == 0,
            "align_K": keys % block_k == 0,
            "do_causal": option == "causal",
            "has_mask": option == "masked",
        },
        order=order,
    )
    assert_close(out, attention(q, k, v, option == "causal", mask if option == "masked" else None))


# --- matrix products


@EVERY_ORDER
@pytest.mark.parametrize(
    ("kernel", "dtype", "rows", "columns", "inner"),
    [
        ("gemm<half, 32, 32, 16, 2, 2, false, true>", half, 64, 32, 32),
        ("gemm<float, 32, 32, 16, 2, 2, true, false>", single, 50, 40, 37),
    ],
)
def test_steel_gemm(kernel: str, dtype: np.dtype[Any], rows: int, columns: int, inner: int, order: str) -> None:
    transposed = "true, false>" in kernel  # of A; the other kernel transposes B
    a, b = normal(dtype, rows, inner), normal(dtype, inner, columns)
    stored_a = np.ascontiguousarray(a.T) if transposed else a
    stored_b = b if transposed else np.ascontiguousarray(b.T)
    out = poisoned(dtype, rows, columns)
    tiles = (ceiling(columns, 32), ceiling(rows, 32))
    leading = (stored_a.shape[1], stored_b.shape[1], columns)
    parameters = struct.pack("8i3q3i4x", rows, columns, inner, *leading, *tiles, 0, 0, 0, 0, inner // 16, 0)
    library("steel_gemm").run(
        kernel,
        {0: stored_a, 1: stored_b, 3: out, 4: parameters},
        threadgroups=(*tiles, 1),
        threads_per_threadgroup=(32, 2, 2),
        constants={f"align_{n}": size % unit == 0 for n, size, unit in _alignments(rows, columns, inner)},
        order=order,
    )
    assert_close(out, a.astype(np.float64) @ b.astype(np.float64), factor=5)


def _alignments(rows: int, columns: int, inner: int) -> tuple[tuple[str, int, int], ...]:
    return ("M", rows, 32), ("N", columns, 32), ("K", inner, 16)


def quantize(w: Array, group_size: int) -> tuple[Array, Array, Array, Array]:
    """Packed 4-bit codes, scales, biases, and the float64 values that they stand for."""
    groups = w.reshape(len(w), -1, group_size)
    low, high = groups.min(-1), groups.max(-1)
    scales, biases = ((high - low) / 15).astype(np.float16), low.astype(np.float16)
    codes = np.clip(np.round((groups - low[..., None]) / scales[..., None].astype(np.float64)), 0, 15)
    values = codes * scales[..., None].astype(np.float64) + biases[..., None].astype(np.float64)
    eights = codes.reshape(len(w), -1, 8).astype(np.uint32) << (4 * np.arange(8, dtype=np.uint32))
    return eights.sum(-1).astype(np.uint32), scales, biases, values.reshape(w.shape)


@EVERY_ORDER
@pytest.mark.parametrize(
    ("kernel", "rows", "outputs", "inputs"),
    [("affine_qmv_fast<half, 64, 4, false>", 1, 16, 512), ("affine_qmm_t<half, 64, 4, true, false>", 20, 64, 128)],
)
def test_quantized(kernel: str, rows: int, outputs: int, inputs: int, order: str) -> None:
    packed, scales, biases, values = quantize(normal(np.dtype(np.float64), outputs, inputs), 64)
    x, y = normal(half, rows, inputs), poisoned(half, rows, outputs)
    none, nothing = np.int32(0), np.zeros(1, np.int64)
    batch = [none, nothing, nothing, none, nothing, nothing, nothing, nothing]
    is_vector = "qmv" in kernel
    geometry: Mapping[str, Any] = (
        {"threadgroups": (rows, outputs // 8, 1), "threads_per_threadgroup": (32, 2, 1)}
        if is_vector
        else {"threadgroups": (outputs // 32, ceiling(rows, 32), 1), "threads_per_threadgroup": (32, 2, 2)}
    )
    sizes = [np.int32(inputs), np.int32(outputs), *([] if is_vector else [np.int32(rows)])]
    library("quantized").run(kernel, [packed, scales, biases, x, y, *sizes, *batch], **geometry, order=order)
    assert_close(y, x.astype(np.float64) @ values.T, factor=5)
