"""The kernels' exponentials, tanh and GELU against float64: all 16-bit numbers, and ten million of every magnitude.

Errors are in units in the last place of the result, half of one being the rounding's own; those of a subnormal result
in units of the smallest normal number.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import pytest

import fusedops
from fusedops import _core

FORMS = ("none", "tanh", "sigmoid")
SIXTEEN_BITS = (np.float16, ml_dtypes.bfloat16)
COUNT = 10_000_000
# Polynomials for each interval, or the formulas with their longer chains of rounding errors.
BY_TABLE = _core.instruction_set().startswith(("amx", "avx512"))
ARGUMENTS = {"tanh": (1.5957691216057308, 0.044715 * 1.5957691216057308), "sigmoid": (1.702, 0.0)}


def exact_gelu(x: np.ndarray, form: str) -> np.ndarray:
    """Return max(x, 0) - |x| gate(-|x|) in float64, which is relatively accurate everywhere."""
    wide = x.astype(np.float64)
    a = np.abs(wide)
    if form == "none":
        gate = 0.5 * erfc(a / math.sqrt(2))
    else:
        linear, cubic = ARGUMENTS[form]
        gate = 1 / (1 + np.exp(np.minimum(a * (linear + cubic * a * a), 700)))
    return np.maximum(wide, 0) - a * gate


def erfc(z: np.ndarray) -> np.ndarray:
    """Return the complementary error function for z >= 0, to 14 digits: by interpolation in tables of math.erfc.

    e^(z^2) erfc(z) is smooth: a cubic between points that are 2^-10 apart, with its derivative 2 z f - 2 / sqrt(pi).
    """
    step, end = 2.0**-10, 28.0
    points = np.arange(0, end + 2 * step, step)
    values = np.array([math.erfc(p) * math.exp(p * p) if p < 26 else continued_fraction(p) for p in points.tolist()])
    slopes = 2 * points * values - 2 / math.sqrt(math.pi)
    z = np.minimum(z, end)
    index = (z / step).astype(np.int64)
    t = z / step - index
    low, high, low_slope, high_slope = values[index], values[index + 1], slopes[index] * step, slopes[index + 1] * step
    smooth = (
        low * (1 + 2 * t) * (1 - t) ** 2
        + low_slope * t * (1 - t) ** 2
        + high * t * t * (3 - 2 * t)
        + high_slope * t * t * (t - 1)
    )
    return smooth * np.exp(-z * z)


def continued_fraction(z: float) -> float:
    """Return e^(z^2) erfc(z) for large z (Abramowitz & Stegun 7.1.14)."""
    fraction = z
    for k in range(40, 0, -1):
        fraction = z + k / 2 / fraction
    return 1 / (fraction * math.sqrt(math.pi))


def error_in_units(actual: np.ndarray, exact: np.ndarray) -> np.ndarray:
    limits = ml_dtypes.finfo(actual.dtype)
    exponent = np.floor(np.log2(np.maximum(np.abs(exact), float(limits.smallest_normal))))
    return np.abs(actual.astype(np.float64) - exact) / 2.0 ** (exponent - limits.nmant)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", SIXTEEN_BITS, ids=lambda dtype: dtype.__name__)
def test_all_16_bit_numbers(dtype: type, form: str) -> None:
    x = np.arange(2**16, dtype=np.uint16).view(dtype)
    y = fusedops.gelu(x, approximate=form)
    wide = x.astype(np.float32)
    assert np.isnan(y[np.isnan(wide)].astype(np.float32)).all()
    finite = np.isfinite(wide)
    assert y[wide == np.inf].astype(np.float32) == np.inf
    assert np.abs(y[wide == -np.inf].astype(np.float32)) < 1e-33
    # Beyond -9 float32 itself runs out of exponents; the result is as good as 0.
    beyond = finite & (wide < -9)
    assert (np.abs(y[beyond].astype(np.float64) - exact_gelu(x[beyond], form)) < 1e-5).all()
    within = finite & (wide >= -9)
    assert error_in_units(y[within], exact_gelu(x[within], form)).max() < 0.6


def float32_numbers(seed: int) -> np.ndarray:
    """Return numbers of every bit pattern that is finite, and as many from where GELU bends."""
    random = np.random.default_rng(seed)
    any_bits = random.integers(0, 2**32, COUNT // 4, dtype=np.uint32).view(np.float32)
    any_bits = any_bits[np.isfinite(any_bits)]
    return np.concatenate(
        [
            any_bits,
            random.standard_normal(COUNT // 4, np.float32) * 3,
            random.uniform(-14, 14, COUNT - COUNT // 4 - any_bits.size).astype(np.float32),
        ]
    )


@pytest.mark.parametrize("form", FORMS)
def test_float32(form: str) -> None:
    x = float32_numbers(FORMS.index(form))
    assert x.size == COUNT
    y, exact = fusedops.gelu(x, approximate=form), exact_gelu(x, form)
    units = error_in_units(y, exact)
    assert units[x >= -4].max() < (3 if BY_TABLE else 32)
    assert units[x >= -5].max() < (16 if BY_TABLE else 48)
    # In the tail the exponent's own rounding counts; 1 + erf and 1 + tanh have no digits left there.
    tail = (x < -5) & (np.abs(exact) > 1e-35)
    assert (np.abs(y[tail] - exact[tail]) <= 2e-5 * np.abs(exact[tail])).all()
    assert np.abs(y[(x < -5) & ~tail]).max() < 1e-33


@dataclass(frozen=True)
class Function:
    """A function of one number, and what its kernel promises.

    lowest, highest: where it is computed; below it is `below`. units: the largest error with multiply-adds that round
    once, and with ones that round twice.
    """

    exact: Callable[[np.ndarray], np.ndarray]
    lowest: float
    highest: float
    below: float
    units: tuple[float, float]


FUNCTIONS = {
    "exp": Function(np.exp, -87.3, 88, 0, (1.2, 1.6)),
    "exp2": Function(np.exp2, -126, 127, 0, (2.2, 2.5)),
    "tanh": Function(np.tanh, -np.inf, np.inf, -1, (1.6, 1.7)),
}
ROUNDS_ONCE = _core.instruction_set() not in ("sse2", "generic", "scalar")


def by_kernel(name: str, x: np.ndarray) -> np.ndarray:
    y = np.full_like(x, np.nan)
    getattr(_core, name)(x, y)
    return y


def check(name: str, x: np.ndarray) -> None:
    function = FUNCTIONS[name]
    y = by_kernel(name, x)
    assert np.isnan(y[np.isnan(x)]).all()
    assert (y[x < np.float32(function.lowest)] == function.below).all()
    within = (x >= np.float32(function.lowest)) & (x <= function.highest)
    error = error_in_units(y[within], function.exact(x[within].astype(np.float64)))
    assert error.max() < function.units[0 if ROUNDS_ONCE else 1]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_all_16_bit_numbers(name: str) -> None:
    for dtype in SIXTEEN_BITS:
        check(name, np.arange(2**16, dtype=np.uint16).view(dtype).astype(np.float32))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_float32(name: str) -> None:
    random = np.random.default_rng(sum(map(ord, name)))
    any_bits = random.integers(0, 2**32, COUNT // 2, dtype=np.uint32).view(np.float32)
    in_range = random.uniform(-130, 130, COUNT // 4).astype(np.float32)
    check(name, np.concatenate([any_bits, in_range, random.standard_normal(COUNT // 4, np.float32)]))


def test_functions_refuse_another_size() -> None:
    with pytest.raises(ValueError, match="x and y: must be of one size"):
        _core.exp(np.zeros(3, np.float32), np.zeros(4, np.float32))
