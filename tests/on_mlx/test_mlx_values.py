"""Values against float64, by the kernels and by the composites."""

from __future__ import annotations

import mlx.core as mx
import pytest
from mlx_cases import PATHS, all_cases, normal, operator, split
from mlx_reference import DTYPES, assert_as_good_as, exact, naive

import fusedops
from fusedops import _mlx

IDS = list(all_cases())


def outputs_of(result):
    return list(result) if isinstance(result, tuple) else [result]


@pytest.mark.metal
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("case", IDS)
@pytest.mark.parametrize("path", PATHS)
def test_values(path, case, dtype):
    name, arguments = all_cases(dtype)[case]
    arrays, _ = split(arguments)
    before = [mx.array(array) for array in arrays]
    mx.eval(arrays, before)
    results = outputs_of(operator(name, path)(*arguments))
    ordinary = naive(name, *arguments)
    ordinary = [x.astype(r.dtype) for x, r in zip(ordinary, results, strict=True)]
    assert results[0].dtype == dtype
    assert_as_good_as(results, ordinary, exact(name, *arguments))
    for array, copy in zip(arrays, before, strict=True):
        assert mx.array_equal(array, copy, equal_nan=True)


@pytest.mark.metal
@pytest.mark.parametrize("path", PATHS)
def test_empty_arrays_and_no_keys(path):
    assert operator("rms_norm", path)(mx.zeros((0, 8)), mx.ones((8,)), None, 1e-6, 0.0).shape == (0, 8)
    assert operator("rms_norm", path)(mx.zeros((3, 0)), None, None, 1e-6, 0.0).shape == (3, 0)
    assert operator("gelu", path)(mx.zeros((2, 0)), None, "none").shape == (2, 0)
    assert operator("geglu", path)(mx.zeros((2, 0)), None, "tanh").shape == (2, 0)
    for shape in [(0, 2, 3, 4, 8), (2, 0, 3, 4, 8), (2, 2, 0, 4, 8), (2, 2, 3, 4, 0)]:
        batch, heads, queries, keys, value_dim = shape
        q, k, v = normal(batch, heads, queries, 8), normal(batch, heads, keys, 8), normal(batch, heads, keys, value_dim)
        out, lse = operator("sdpa", path)(q, k, v, None, None, 1, None, None, None, None, False, True)
        mx.eval(out, lse)
        assert out.shape == (batch, heads, queries, value_dim)
        assert lse.shape == (batch, heads, queries)
    k, v = mx.zeros((2, 2, 4, 0)), normal(2, 2, 4, 8)
    out = operator("sdpa", path)(mx.zeros((2, 4, 3, 0)), k, v, None, None, 0, None, None, None, None, False, False)
    assert mx.allclose(out, mx.repeat(v.mean(2, keepdims=True), 2, axis=1), atol=1e-6)
    q, k = normal(2, 4, 3, 8), mx.zeros((2, 2, 0, 8))
    out, lse = operator("sdpa", path)(q, k, k, None, normal(4), 1, None, None, None, None, False, True)
    assert mx.array_equal(out, mx.zeros((2, 4, 3, 8)))
    assert mx.array_equal(lse, mx.full((2, 4, 3), -mx.inf))


@pytest.mark.metal
def test_any_strides():
    q, k, v = normal(2, 9, 4, 16), normal(2, 11, 2, 16), normal(2, 2, 8, 22)
    broadcast = mx.broadcast_to(normal(1, 1, 1, 22), (2, 2, 11, 22))
    transposed = [q.swapaxes(1, 2), k.swapaxes(1, 2)]
    for values in (v.swapaxes(2, 3)[:, :, ::2], broadcast):
        arguments = (*transposed, values, None, None, 1, None, None, None, None, False, False)
        expected = exact("sdpa", *arguments)[:1]
        assert_as_good_as([_mlx.sdpa(*arguments)], naive("sdpa", *arguments)[:1], expected)
    sliced = normal(6, 40)[::2, 1::3]
    arguments = (sliced, None, sliced, 1e-6, 0.0)
    assert_as_good_as(_mlx.rms_norm(*arguments), naive("rms_norm", *arguments), exact("rms_norm", *arguments))


@pytest.mark.metal
@pytest.mark.parametrize("approximate", ["none", "tanh", "sigmoid"])
@pytest.mark.parametrize("path", PATHS)
def test_gelu_at_its_limits(path, approximate):
    """Pain 12: NaN where x cubed overflows."""
    for dtype in DTYPES:
        x = mx.array([-mx.inf, -1e30, -100.0, 100.0, 1e4, 6e4, 1e30, mx.inf, mx.nan]).astype(dtype)
        y = operator("gelu", path)(x, None, approximate)
        assert mx.allclose(y, mx.where(x < 0, 0, x), rtol=0, atol=1e-30, equal_nan=True)
        gradient = mx.grad(lambda x: operator("gelu", path)(x, None, approximate).sum())(x[:6])
        assert mx.array_equal(gradient, (x[:6] > 0).astype(dtype))


@pytest.mark.metal
def test_public_functions_reach_the_kernels():
    x, weight = normal(4, 8), normal(8)
    assert mx.array_equal(fusedops.rms_norm(x, weight), _mlx.rms_norm(x, weight, None, 1e-6, 0.0))
    assert mx.array_equal(fusedops.gelu(x, bias=weight, approximate="tanh"), _mlx.gelu(x, weight, "tanh"))
    assert mx.array_equal(fusedops.geglu(x), _mlx.geglu(x, None, "none"))
    q = normal(1, 2, 3, 8)
    got = fusedops.sdpa(q, q, q, causal="upper_left", window=(1, None), return_lse=True)
    expected = _mlx.sdpa(q, q, q, None, None, 2, None, 1, None, None, False, True)
    assert all(mx.array_equal(a, b) for a, b in zip(got, expected, strict=True))


def test_describe():
    assert _mlx.describe(mx.zeros((2, 3), mx.bfloat16)) == ("bfloat16", (2, 3))
    assert _mlx.describe(mx.array(True)) == ("bool", ())


def test_bad_arguments_name_themselves():
    x = normal(4, 8)
    with pytest.raises(ValueError, match=r"weight must have shape \(8,\).*got \(7,\)"):
        _mlx.rms_norm(x, normal(7), None, 1e-6, 0.0)
    with pytest.raises(TypeError, match="bias must be float32, float16 or bfloat16, got int32"):
        _mlx.gelu(x, mx.zeros((8,), mx.int32), "none")
    with pytest.raises(ValueError, match="approximate must be"):
        _mlx.geglu(x, None, "erf")
