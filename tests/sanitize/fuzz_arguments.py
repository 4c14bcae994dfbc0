"""Random arguments, most of them wrong somewhere: every call must return a result, or raise a ValueError or TypeError.

    python tests/sanitize/fuzz_arguments.py --framework numpy --count 100000 --seed 0

A set of arguments depends on the seed and its index alone; a failure prints both. Whatever the operators' signatures
hold beside arrays is taken for an option, so that new ones are tried without a word here.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

import fusedops

Random = np.random.Generator
Arguments = dict[str, Any]

EXTENTS = (0, 1, 1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 31, 33, 64, 65)
DTYPES = (np.float32, np.float16, ml_dtypes.bfloat16)
WRONG_DTYPES = (np.float64, np.int32, np.int64, np.uint8, np.uint16, np.bool_, np.complex64, np.dtype(">f4"))
# More elements than one thread computes, so that the pool is at work, too; now and then.
LARGE = 400_000

PLAUSIBLE: Mapping[str, tuple[Any, ...]] = {
    "eps": (1e-6, 1e-5, 0.1, 0.0, 1),
    "weight_offset": (0.0, 1.0, -0.5),
    "approximate": ("none", "tanh", "sigmoid"),
    "causal": (False, True, "upper_left", "lower_right"),
    "scale": (None, 0.1, 1.0, -1.0, 0.0),
    "softmax_scale": (None, 0.1, 1.0, -1.0, 0.0),
    "softcap": (None, 0.5, 20.0),
    "window": (None, 1, 3, (2, 1), (None, 2), (4, None), (None, None)),
    "window_size": ((-1, -1), (3, 0), (2, 2), (-1, 1)),
    "deterministic": (False, True),
    "return_lse": (False, True),
}
HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 2**200),
    *(0.0, -0.0, 0.5, 1e-45, 1e-300, 1e38, 1e300, float("inf"), float("-inf"), float("nan"), 1j),
    *("", "none", "tanh", "upper_left", "x" * 1000, "\ud800", "\0", b"none"),
    *((), (1,), (None, None), (-1, -1), (2**70, 0), (0.5, 1), (1, 2, 3), [], [1, 2], {}, {"a": 1}, ..., int),
    *(np.float32(0.5), np.float64(1e300), np.int64(-1), np.array(1.0, np.float32), np.array([1, 2]), np.bool_(True)),
)


def extent(random: Random) -> int:
    return int(random.choice(EXTENTS))


def values(random: Random, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    numbers = random.standard_normal(shape, np.float32)
    if numbers.size and random.random() < 0.1:
        numbers.flat[random.integers(numbers.size)] = random.choice([np.nan, np.inf, -np.inf, 1e38, 1e-40])
    return numbers


def laid_out(random: Random, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the array's values, or of the first ones repeated, in some memory with some strides."""
    match random.integers(10):
        case 0 if array.ndim:  # stride 0
            axis = int(random.integers(array.ndim))
            return np.broadcast_to(array.take([0], axis) if array.shape[axis] else array, array.shape)
        case 1:  # negative strides
            return np.flip(np.flip(array).copy())
        case 2:  # any order of the dimensions
            order = random.permutation(array.ndim)
            return array.transpose(order).copy().transpose(np.argsort(order))
        case 3:  # at an odd address, and nothing behind
            memory = np.empty(array.nbytes + 1, np.uint8)
            unaligned = memory[1:].view(array.dtype).reshape(array.shape)
            unaligned[...] = array
            return unaligned
        case 4 if array.ndim:  # fields of records of an odd size
            records = np.zeros(array.shape, [("tag", "u1"), ("value", array.dtype)])
            records["value"] = array
            return records["value"]
        case 5 if array.ndim:  # every second element
            return np.repeat(array, 2, -1)[..., ::2]
        case _:
            return array.copy()


def attention_arrays(random: Random) -> Arguments:
    batch, kv_heads, dim, value_dim = (extent(random) for _ in range(4))
    group, query_length, key_length = (extent(random) for _ in range(3))
    if random.random() < 0.01:
        batch, kv_heads, dim, value_dim, group, query_length, key_length = 1, 2, 32, 32, 2, 200, 1000
    heads = min(kv_heads * group, 64)
    shapes = {
        "q": (batch, heads, query_length, dim),
        "k": (batch, kv_heads, key_length, dim),
        "v": (batch, kv_heads, key_length, value_dim),
    }
    while sum(map(np.prod, shapes.values())) > LARGE:
        shapes = {name: (shape[0] // 2, *shape[1:]) for name, shape in shapes.items()}
    return {name: values(random, shape) for name, shape in shapes.items()}


def sdpa(random: Random) -> Arguments:
    arrays = attention_arrays(random)
    batch, heads, query_length, _ = arrays["q"].shape
    full = (batch, heads, query_length, arrays["k"].shape[2])
    if random.random() < 0.4:
        shape = tuple(int(random.choice([each, 1])) for each in full)[random.integers(5) :]
        arrays["mask"] = values(random, shape) > 0 if random.random() < 0.5 else values(random, shape)
    if random.random() < 0.3:
        arrays["sinks"] = values(random, (heads,) if random.random() < 0.7 else (batch, heads))
    return arrays


def flash_attn_func(random: Random) -> Arguments:
    return {name: array.swapaxes(1, 2).copy() for name, array in attention_arrays(random).items()}


def offsets(random: Random, total: int, sequences: int) -> np.ndarray[Any, Any]:
    ends = np.sort(random.integers(0, total + 1, max(sequences - 1, 0)))
    cu_seqlens = np.array([0, *ends, total][: sequences + 1], np.int32)
    if random.random() < 0.1:
        cu_seqlens[random.integers(cu_seqlens.size)] = random.choice([-1, total + 1, 2**31 - 1, -(2**31), 0])
    return cu_seqlens


def sdpa_varlen(random: Random) -> Arguments:
    packed = {name: array[:1].sum(0).swapaxes(0, 1).copy() for name, array in attention_arrays(random).items()}
    sequences = int(random.integers(6))
    for letter, name in (("q", "q"), ("k", "k")):
        cu_seqlens = offsets(random, packed[name].shape[0], sequences)
        packed[f"cu_seqlens_{letter}"] = cu_seqlens
        longest = int(np.diff(cu_seqlens.astype(np.int64)).max(initial=0))
        packed[f"max_seqlen_{letter}"] = longest + int(random.choice([0, 0, 1, -1, 1000, 2**40]))
    if random.random() < 0.3:
        packed["sinks"] = values(random, packed["q"].shape[1:2])
    return packed


def flash_attn_varlen_func(random: Random) -> Arguments:
    arguments = sdpa_varlen(random)
    arguments.pop("sinks", None)
    return arguments


def row_shape(random: Random) -> tuple[int, ...]:
    if random.random() < 0.01:
        return (400, 1000)
    return (*(min(extent(random), 9) for _ in range(random.integers(4))), int(random.choice([*EXTENTS, 127, 1000])))


def rms_norm(random: Random) -> Arguments:
    x = values(random, row_shape(random))
    arguments = {"x": x}
    if random.random() < 0.6:
        arguments["weight"] = values(random, x.shape[-1:])
    if random.random() < 0.4:
        arguments["residual"] = values(random, x.shape)
    return arguments


def gelu(random: Random) -> Arguments:
    x = values(random, row_shape(random))
    return {"x": x, "bias": values(random, x.shape[-1:])} if random.random() < 0.5 else {"x": x}


def geglu(random: Random) -> Arguments:
    gate = values(random, row_shape(random))
    return {"gate": gate, "up": values(random, gate.shape)} if random.random() < 0.5 else {"gate": gate}


OPERATORS: tuple[Callable[[Random], Arguments], ...] = (
    rms_norm,
    gelu,
    geglu,
    sdpa,
    sdpa_varlen,
    flash_attn_func,
    flash_attn_varlen_func,
)


def in_dtypes(random: Random, arguments: Arguments) -> Arguments:
    """Return the arguments with arrays of one of the dtypes, or now and then of different or wrong ones."""
    dtype = DTYPES[random.integers(len(DTYPES))]

    def in_dtype(array: Any) -> Any:
        if not isinstance(array, np.ndarray):
            return array
        if array.dtype == np.float32:
            array = array.astype(DTYPES[random.integers(len(DTYPES))] if random.random() < 0.1 else dtype)
        if random.random() < 0.03:
            array = array.real.astype(WRONG_DTYPES[random.integers(len(WRONG_DTYPES))])
        return array

    with np.errstate(all="ignore"):
        return {name: in_dtype(array) for name, array in arguments.items()}


def with_wrong_shape(random: Random, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    shape = list(array.shape)
    match random.integers(4):
        case 0:
            shape.insert(int(random.integers(len(shape) + 1)), extent(random))
        case 1 if shape:
            shape.pop(int(random.integers(len(shape))))
        case 2 if shape:
            shape[random.integers(len(shape))] = extent(random)
        case _:
            shape = []
    return np.resize(array, shape) if array.size and np.prod(shape) <= LARGE else np.zeros(shape[:2], array.dtype)


def argument_set(seed: int, index: int) -> tuple[str, Arguments]:
    """Return an operator's name, and its arguments with numpy arrays."""
    random = np.random.default_rng([seed, index])
    operator = OPERATORS[random.integers(len(OPERATORS))]
    arguments = in_dtypes(random, operator(random))
    for name, value in arguments.items():
        if isinstance(value, np.ndarray):
            array = with_wrong_shape(random, value) if random.random() < 0.03 else value
            arguments[name] = laid_out(random, array)
        if random.random() < 0.01:
            arguments[name] = HOSTILE[random.integers(len(HOSTILE))]
    for name in inspect.signature(getattr(fusedops, operator.__name__)).parameters:
        if name in arguments:
            continue
        if name in PLAUSIBLE and random.random() < 0.4:
            arguments[name] = PLAUSIBLE[name][random.integers(len(PLAUSIBLE[name]))]
        elif random.random() < 0.03:
            arguments[name] = HOSTILE[random.integers(len(HOSTILE))]
    return operator.__name__, arguments


def as_torch(array: np.ndarray[Any, Any]) -> Any:
    import torch

    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if any(stride < 0 or stride % array.itemsize for stride in array.strides):
        array = array.copy()
    if not array.flags.writeable:  # it is no copy: torch would warn
        array.flags.writeable = True
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def as_mlx(array: np.ndarray[Any, Any]) -> Any:
    import mlx.core as mx

    if array.dtype == ml_dtypes.bfloat16:
        return mx.array(array.astype(np.float32)).astype(mx.bfloat16)
    return mx.array(array.astype(array.dtype.newbyteorder("=")))


def evaluated(result: Any) -> None:
    import mlx.core as mx

    mx.eval(result)


CONVERSIONS: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], None]]] = {
    "numpy": (lambda array: array, lambda result: None),
    "torch": (as_torch, lambda result: None),
    "mlx": (as_mlx, evaluated),
}


def call(framework: str, operator: str, arguments: Arguments) -> bool:
    """Return whether there was a result; False says that there was a ValueError or TypeError."""
    convert, evaluate = CONVERSIONS[framework]
    converted = {name: convert(each) if isinstance(each, np.ndarray) else each for name, each in arguments.items()}
    try:
        evaluate(getattr(fusedops, operator)(**converted))
    except (ValueError, TypeError):
        return False
    return True


def run(framework: str, seed: int, count: int, report: Callable[[str], None] = lambda text: None) -> int:
    """Call operators with `count` sets of arguments; return how many gave results."""
    results, last_report = 0, time.monotonic()
    for index in range(count):
        operator, arguments = argument_set(seed, index)
        try:
            results += call(framework, operator, arguments)
        except Exception as error:
            raise RuntimeError(f"fusedops.{operator} on {framework}, seed {seed}, index {index}") from error
        if time.monotonic() - last_report > 10:
            last_report = time.monotonic()
            report(f"{framework}: {index + 1} of {count} sets of arguments, {results} of them with results")
    report(f"{framework}: {count} sets of arguments, {results} of them with results: passed")
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--framework", choices=list(CONVERSIONS), default="numpy")
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    run(options.framework, options.seed, options.count, lambda text: print(text, flush=True))


if __name__ == "__main__":
    sys.exit(main())
