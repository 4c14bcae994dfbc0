"""Turns a case into arrays and arguments, runs it, and judges the result against float64."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import reference
from .cases import CONTIGUOUS, SWAPPED, Case, GegluCase, GeluCase, RmsNormCase, SdpaCase, SdpaVarlenCase
from .frameworks import Framework
from .reference import Precision

Floats = NDArray[Any]

# The tiny absolute term of the error rule, relative to the largest value of the result: where the plain way is exact
# by luck (few keys, say), a result rounded a few times must still pass. Below SMALLEST lies underflow.
TINY = {"float32": 2.0**-20, "float16": 2.0**-11, "bfloat16": 2.0**-8}
SMALLEST = {"float32": 1e-30, "float16": 2.0**-24, "bfloat16": 1e-30}


def assert_accurate(
    framework: Framework, actual: Floats, exact: Floats, naive: Floats, dtype: str, unit: float = 0.0
) -> None:
    """Require an error at most twice that of the plain way at the same precision, plus a tiny absolute term.

    The rule is that of flash-attention's tests. Infinities and NaN must stand where the exact result has them. The tiny
    term is relative to the largest value, with a float32 one that is relative to `unit`, the size of what is added up.
    """
    assert actual.shape == exact.shape, f"shape {actual.shape}, expected {exact.shape}"
    if exact.size == 0:
        return
    finite = np.isfinite(exact)
    np.testing.assert_array_equal(actual[~finite], exact[~finite])
    if not finite.any():
        return
    assert np.isfinite(actual[finite]).all(), "values that are not finite where the exact result is"
    usable = finite & np.isfinite(naive)  # the plain way may overflow
    naive_error = np.abs(naive[usable] - exact[usable]).max(initial=0)
    error = np.abs(actual[finite] - exact[finite]).max()
    tiny = TINY[dtype] * np.abs(exact[finite]).max() + TINY["float32"] * unit
    bound = 2 * naive_error + framework.tiny_terms * tiny + SMALLEST[dtype]
    assert error <= bound, f"error {error:.3g} above {bound:.3g} (error of the plain way: {naive_error:.3g})"


# Where the tails that are judged begin and end: results stay normal numbers of float32.
TAILS = {"none": (-12.5, -3.0), "tanh": (-9.5, -3.0), "sigmoid": (-45.0, -3.0)}
TAIL_ENDS = {"float32": 1e-37, "float16": 2.0**-24, "bfloat16": 1e-37}  # below lies underflow
ROUNDED_BY = {"float32": 0.0, "float16": 2.0**-11, "bfloat16": 2.0**-8}  # the result, relatively


def assert_tail_accurate(
    framework: Framework, actual: Floats, exact: Floats, x: Floats, approximate: str, dtype: str
) -> None:
    """Require a small error relative to each single value of GELU, however tiny it is.

    That is eight units of float32, and where the gate is a sigmoid two for each of its rounded argument; then
    the dtype's. Composites have their framework's exponential, which may lose as much of any argument (MLX's on CPUs).
    """
    argument = np.zeros_like(x) if approximate == "none" else reference.sigmoid_argument(x, approximate)
    if approximate == "none" and framework.tiny_terms > 1:
        argument = x * x / 2
    allowed = ROUNDED_BY[dtype] + (8 + 2 * np.abs(argument)) * 2.0**-23
    error = np.abs(actual - exact) - TAIL_ENDS[dtype]
    assert (error <= allowed * np.abs(exact)).all(), f"relative error {(error / np.abs(exact)).max():.3g}"


class Operands:
    """Makes the operands of one case: arrays in the framework's form along with their exact values."""

    def __init__(self, framework: Framework, case: Case, dtype: str) -> None:
        self.framework = framework
        self.case = case
        self.dtype = dtype
        self.random = case.random()

    def normal(
        self,
        shape: tuple[int, ...],
        dtype: str | None = "same",
        layout: str | None = None,
        nan: bool = False,
        first_column: float | None = None,
    ) -> tuple[Any, Any]:
        """Return (array, float64 values), normally distributed, one of them NaN if asked; (None, None) for no dtype."""
        if dtype is None:
            return None, None
        values = np.asarray(self.random.normal(size=shape) * self.case.magnitude)
        if nan and values.size:
            values.flat[self.random.integers(values.size)] = np.nan
        if first_column is not None:
            values[..., 0] = first_column
        return self.place(values, dtype, layout)

    def tail(self, shape: tuple[int, ...], approximate: str, exact_sums: bool = False) -> tuple[Any, Any]:
        """Return (array, float64 values) in GELU's negative tail; such that a bias can be added exactly, if asked."""
        values = self.random.uniform(*TAILS[approximate], size=shape)
        return self.place(np.round(values * 4) / 4 if exact_sums else values, "same", None)

    def packed(self, shape: tuple[int, int, int], nan: bool) -> tuple[Any, Any]:
        """Return the same of (length, heads, dimension): in memory heads first, or where those are swapped, second.

        So it is heads that are alike in an expanded layout. Equal keys and values would make sums of equal numbers,
        which are rounded in the same direction again and again, or not at all.
        """
        length, heads, dimension = shape
        layout = {CONTIGUOUS: SWAPPED, SWAPPED: CONTIGUOUS}.get(self.case.layout, self.case.layout)
        array, values = self.normal((heads, length, dimension), layout=layout, nan=nan)
        return self.framework.swap_axes(array, 0, 1), values.swapaxes(0, 1)

    def booleans(self, shape: tuple[int, ...]) -> tuple[Any, Any]:
        """Return (array, values), three of four True."""
        return self.place(self.random.random(size=shape) < 0.75, "bool", None)

    def place(self, values: Any, dtype: str | None, layout: str | None = None) -> tuple[Any, Any]:
        """Return the values as the framework's array and as they are after rounding; (None, None) for no dtype."""
        if dtype is None:
            return None, None
        dtype = self.dtype if dtype == "same" else dtype
        layout = layout or self.case.layout
        return self.framework.laid_out(values, dtype, layout), self.framework.values(values, dtype, layout)


def check_rms_norm(framework: Framework, case: RmsNormCase, dtype: str) -> None:
    """Run a case and judge it."""
    operands = Operands(framework, case, dtype)
    x, exact_x = operands.normal(case.shape, first_column=case.spike)
    weight, exact_weight = operands.place(operands.random.normal(size=case.shape[-1:]), case.weight)
    residual, exact_residual = operands.normal(case.shape, case.residual)
    result = framework.operators.rms_norm(x, weight, case.eps, residual=residual, weight_offset=case.weight_offset)
    y, total = result if case.residual else (result, None)
    # The sum is rounded to the residual's dtype by definition, and that is what is normalised.
    sum_dtype = "float32" if case.residual == "float32" else dtype
    exact_total = exact_x if exact_residual is None else Precision(sum_dtype)(exact_x + exact_residual).astype(float)
    arguments = (exact_total, exact_weight, case.eps, case.weight_offset)
    assert framework.dtype(y) == dtype
    exact, naive = reference.rms_norm(*arguments), reference.rms_norm(*arguments, Precision(dtype))
    assert_accurate(framework, framework.numpy(y), exact, naive, dtype)
    if total is not None:
        assert framework.dtype(total) == sum_dtype
        np.testing.assert_array_equal(framework.numpy(total), exact_total)


def check_gelu(framework: Framework, case: GeluCase, dtype: str) -> None:
    """Run a case and judge it."""
    operands = Operands(framework, case, dtype)
    if case.tail:
        x, exact_x = operands.tail(case.shape, case.approximate, exact_sums=case.bias is not None)
    else:
        x, exact_x = operands.normal(case.shape)
    bias, exact_bias = operands.normal(case.shape[-1:], case.bias)
    if case.tail and bias is not None:
        bias, exact_bias = operands.place(np.round(exact_bias * 2) / 8, case.bias or "same", None)
    y = framework.operators.gelu(x, approximate=case.approximate, bias=bias)
    assert framework.dtype(y) == dtype
    exact = reference.gelu(exact_x, case.approximate, exact_bias)
    if case.tail:
        biased = exact_x if exact_bias is None else exact_x + exact_bias
        return assert_tail_accurate(framework, framework.numpy(y), exact, biased, case.approximate, dtype)
    naive = reference.gelu(exact_x, case.approximate, exact_bias, Precision(dtype))
    assert_accurate(framework, framework.numpy(y), exact, naive, dtype)


def check_geglu(framework: Framework, case: GegluCase, dtype: str) -> None:
    """Run a case and judge it."""
    operands = Operands(framework, case, dtype)
    make_gate = functools.partial(operands.tail, approximate=case.approximate) if case.tail else operands.normal
    if case.packed:
        gate, exact_packed = make_gate((*case.shape[:-1], 2 * case.shape[-1]))
        halves = np.split(exact_packed, 2, -1)
        exact_gate, exact_up = halves if case.gate_first else reversed(halves)
        y = framework.operators.geglu(gate, approximate=case.approximate, gate_first=case.gate_first)
    else:
        gate, exact_gate = make_gate(case.shape)
        up, exact_up = operands.normal(case.shape)
        y = framework.operators.geglu(gate, up, approximate=case.approximate)
    assert framework.dtype(y) == dtype
    exact = reference.geglu(exact_gate, exact_up, case.approximate)
    if case.tail:
        return assert_tail_accurate(framework, framework.numpy(y), exact, exact_gate, case.approximate, dtype)
    naive = reference.geglu(exact_gate, exact_up, case.approximate, Precision(dtype))
    assert_accurate(framework, framework.numpy(y), exact, naive, dtype)


def check_sdpa(framework: Framework, case: SdpaCase, dtype: str) -> None:
    """Run a case and judge it."""
    operands = Operands(framework, case, dtype)
    (query_heads, kv_heads), (queries, keys), (head_dim, value_dim) = case.heads, case.lengths, case.dims
    batch = {name: 1 if name in case.shared else case.batch for name in "qkv"}
    q, exact_q = operands.normal((batch["q"], query_heads, queries, head_dim), nan=case.nan == "q")
    k, exact_k = operands.normal((batch["k"], kv_heads, keys, head_dim), nan=case.nan == "k")
    v, exact_v = operands.normal((batch["v"], kv_heads, keys, value_dim), nan=case.nan == "v")
    mask, exact_mask = None, None
    if case.mask == "bool":
        mask, exact_mask = operands.booleans(case.full_mask_shape())
    elif case.mask:
        mask, exact_mask = operands.normal(case.full_mask_shape(), case.mask)
    sinks, exact_sinks = operands.normal((query_heads,), "float32" if case.sinks else None)
    options = {"causal": case.causal, "scale": case.scale, "window": case.window, "softcap": case.softcap}
    call = {"mask": mask, "sinks": sinks, "deterministic": case.deterministic, **options}
    out, logsumexp = framework.operators.sdpa(q, k, v, return_lse=True, **call)

    def attend(values: Floats, rounded: Precision) -> tuple[Floats, Floats]:
        return reference.sdpa(exact_q, exact_k, values, mask=exact_mask, sinks=exact_sinks, **options, rounded=rounded)

    size = _score_size(exact_q, exact_k, case.scale)
    assert_attention_accurate(framework, dtype, (out, logsumexp), exact_v, attend, size)
    alone = framework.operators.sdpa(q, k, v, **call)
    np.testing.assert_array_equal(framework.numpy(alone), framework.numpy(out), "differs without return_lse")


def check_sdpa_varlen(framework: Framework, case: SdpaVarlenCase, dtype: str) -> None:
    """Run a case and judge it."""
    operands = Operands(framework, case, dtype)
    (query_heads, kv_heads), (head_dim, value_dim) = case.heads, case.dims
    offsets = case.offsets()
    queries, keys = (int(own[-1]) for own in offsets)
    q, exact_q = operands.packed((queries, query_heads, head_dim), nan=case.nan == "q")
    k, exact_k = operands.packed((keys, kv_heads, head_dim), nan=case.nan == "k")
    v, exact_v = operands.packed((keys, kv_heads, value_dim), nan=case.nan == "v")
    sinks, exact_sinks = operands.normal((query_heads,), "float32" if case.sinks else None)
    cu_seqlens = [framework.array(own, "int32") for own in offsets]
    options = {"causal": case.causal, "scale": case.scale, "window": case.window, "softcap": case.softcap}
    longest = dict(zip(("max_seqlen_q", "max_seqlen_k"), case.longest(), strict=True))
    call = {**options, **longest, "sinks": sinks}
    out, logsumexp = framework.operators.sdpa_varlen(q, k, v, *cu_seqlens, return_lse=True, **call)

    def attend(values: Floats, rounded: Precision) -> tuple[Floats, Floats]:
        arrays = (exact_q, exact_k, values, *offsets)
        return reference.sdpa_varlen(*arrays, sinks=exact_sinks, **options, rounded=rounded)

    size = _score_size(exact_q, exact_k, case.scale)
    assert_attention_accurate(framework, dtype, (out, logsumexp), exact_v, attend, size)
    alone = framework.operators.sdpa_varlen(q, k, v, *cu_seqlens, **call)
    np.testing.assert_array_equal(framework.numpy(alone), framework.numpy(out), "differs without return_lse")


def assert_attention_accurate(
    framework: Framework,
    dtype: str,
    results: tuple[Any, Any],
    v: Floats,
    attend: Callable[[Floats, Precision], tuple[Floats, Floats]],
    score_size: float,
) -> None:
    """Judge (out, logsumexp) by what `attend` makes of values at a precision.

    Scores are sums, too: 2^-24 of `score_size`, which they add up, may be lost in one, and that is a relative error of
    its weight.
    """
    out, logsumexp = results
    assert framework.dtype(out) == dtype
    assert framework.dtype(logsumexp) == "float32"
    exact, exact_logsumexp = attend(v, reference.EXACT)
    naive, _ = attend(v, Precision(dtype))
    # Values of both signs may cancel: errors are relative to what is added up.
    added_up, _ = attend(np.abs(v), reference.EXACT)
    weight_unit = max(1.0, score_size * 2.0**-24 / TINY["float32"])
    unit = weight_unit * np.nan_to_num(added_up, nan=0.0, posinf=0.0).max(initial=0)
    assert_accurate(framework, framework.numpy(out), exact, naive, dtype, unit)
    _, naive_logsumexp = attend(v, Precision("float32"))
    # An error of a logarithm is a relative error of what it stands for.
    assert_accurate(framework, framework.numpy(logsumexp), exact_logsumexp, naive_logsumexp, "float32", weight_unit)


def _score_size(q: Floats, k: Floats, scale: float | None) -> float:
    """Return what the products of a query and a key, scaled, add up at most: by Cauchy and Schwarz."""
    norms = [np.nan_to_num(np.linalg.norm(x, axis=-1)).max(initial=0) for x in (q, k)]
    return float(np.prod(norms)) * (max(q.shape[-1], 1) ** -0.5 if scale is None else abs(scale))
