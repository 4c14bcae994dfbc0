"""vmap, compile, checkpoint, streams and threads."""

from __future__ import annotations

import itertools
import threading

import mlx.core as mx
import pytest
from mlx_cases import PATHS, all_cases, has_kernels, normal, operator, split

import fusedops
from fusedops import _mlx

IDS = list(all_cases())
VMAP_CASES = [
    *("rms_norm plain", "rms_norm weight and residual", "rms_norm one row", "gelu scalar", "gelu bias tanh"),
    *("geglu none", "geglu packed none", "sdpa lse", "sdpa bool mask of keys", "sdpa bool mask of rows"),
    *("sdpa additive mask of batches", "sdpa additive mask", "sdpa sinks of batches", "sdpa everything"),
]


def listed(result):
    return list(result) if isinstance(result, tuple | list) else [result]


def assert_close(results, expected):
    results, expected = listed(results), listed(expected)
    assert len(results) == len(expected)
    for result, other in zip(results, expected, strict=True):
        assert result.shape == other.shape
        assert result.dtype == other.dtype
        tolerance = 1e-5 if other.dtype == mx.float32 else 4e-3
        assert mx.allclose(result, other, rtol=tolerance, atol=tolerance)


def native(case, path="kernel"):
    """Return the case as a function of its arrays, and the arrays."""
    name, arguments = all_cases()[case]
    arrays, join = split(arguments)
    return lambda *others: operator(name, path)(*join(*others)), arrays


def vmap(function, axes):
    return mx.vmap(function, in_axes=axes[0] if len(axes) == 1 else tuple(axes))


def stacked(array, axis, count=3):
    """Return `count` different arrays like the given one, along a new axis."""
    variants = [array if array.dtype == mx.bool_ else array * (1 + 0.1 * i) for i in range(count)]
    return mx.stack(variants, axis)


def loop(function, arrays, axes, count=3):
    """Return what vmap must give."""
    outputs = []
    for i in range(count):
        part = [x if axis is None else mx.take(x, i, axis) for x, axis in zip(arrays, axes, strict=True)]
        outputs.append(listed(function(*part)))
    return [mx.stack(list(results)) for results in zip(*outputs, strict=True)]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case", VMAP_CASES)
def test_vmap_over_every_combination_of_axes(case, path):
    function, arrays = native(case, path)
    choices = itertools.product([None, 0, -1], repeat=len(arrays))
    for choice in choices:
        if all(axis is None for axis in choice):
            continue
        axes = [x.ndim if axis == -1 else axis for x, axis in zip(arrays, choice, strict=True)]
        mapped = [x if axis is None else stacked(x, axis) for x, axis in zip(arrays, axes, strict=True)]
        assert_close(vmap(function, axes)(*mapped), loop(function, mapped, axes))


@pytest.mark.metal
@pytest.mark.parametrize("case", VMAP_CASES)
def test_nested_vmap(case):
    function, arrays = native(case)
    inner_axes = [0 if i % 2 else None for i in range(len(arrays))]
    inner_axes[0] = 1 if arrays[0].ndim else 0
    outer_axes = [0 if i != 1 else None for i in range(len(arrays))]
    mapped = [x if axis is None else stacked(x, axis) for x, axis in zip(arrays, inner_axes, strict=True)]
    mapped = [x if axis is None else stacked(x, axis, 2) for x, axis in zip(mapped, outer_axes, strict=True)]
    result = vmap(vmap(function, inner_axes), outer_axes)(*mapped)
    assert_close(result, loop(lambda *x: loop(function, x, inner_axes), mapped, outer_axes, 2))


def loss_of(function):
    def loss(*arrays):
        return sum(mx.where(mx.isinf(y), 0, y * y).sum() for y in listed(function(*arrays)))

    return loss


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case", VMAP_CASES)
def test_vmap_of_grad_and_grad_of_vmap(case, path):
    function, arrays = native(case, path)
    differentiable = [i for i, x in enumerate(arrays) if x.dtype != mx.bool_]
    for axes in ([0] * len(arrays), [0] + [None] * (len(arrays) - 1), [None] * (len(arrays) - 1) + [0]):
        mapped = [x if axis is None else stacked(x, axis) for x, axis in zip(arrays, axes, strict=True)]
        gradient = mx.grad(loss_of(function), argnums=differentiable)
        assert_close(vmap(gradient, axes)(*mapped), loop(gradient, mapped, axes))

        of_vmap = mx.grad(loss_of(vmap(function, axes)), argnums=differentiable)
        of_loop = mx.grad(loss_of(lambda *x, axes=axes: loop(function, x, axes)), argnums=differentiable)
        assert_close(of_vmap(*mapped), of_loop(*mapped))


@pytest.mark.metal
def test_vmap_of_grouped_heads():
    """Pain 16: vmap over calls whose query heads share keys."""
    q, k, v = normal(3, 1, 8, 4, 16), normal(3, 1, 2, 6, 16), normal(3, 1, 2, 6, 16)
    result = mx.vmap(lambda q, k, v: fusedops.sdpa(q, k, v, causal=True))(q, k, v)
    expected = mx.stack([fusedops.sdpa(q[i], k[i], v[i], causal=True) for i in range(3)])
    assert_close(result, expected)


@pytest.mark.metal
@pytest.mark.parametrize("case", IDS)
def test_compile(case):
    function, arrays = native(case)
    assert_close(mx.compile(function)(*arrays), function(*arrays))


@pytest.mark.metal
@pytest.mark.parametrize(
    "case", ["rms_norm weight and residual", "gelu bias tanh", "geglu packed none", "sdpa lse", "sdpa everything"]
)
def test_compile_of_gradients(case):
    function, arrays = native(case)
    differentiable = [i for i, x in enumerate(arrays) if x.dtype != mx.bool_]
    gradient = mx.grad(loss_of(function), argnums=differentiable)
    assert_close(mx.compile(gradient)(*arrays), gradient(*arrays))


def rows_of(rows):
    x, w = normal(rows, 12), mx.arange(12) / 6 - 0.5
    return {
        "rms_norm": (lambda x, r: _mlx.rms_norm(x, w, r, 1e-6, 1.0), [x, normal(rows, 12)]),
        "gelu": (lambda x: _mlx.gelu(x, w, "tanh"), [x]),
        "geglu": (lambda x, y: _mlx.geglu(x, y, "none"), [x, normal(rows, 12)]),
    }


@pytest.mark.metal
@pytest.mark.parametrize("name", rows_of(1))
def test_shapeless_compile_of_rows(name, device):
    function = rows_of(1)[name][0]
    compiled = mx.compile(function, shapeless=True)
    gradient = mx.grad(loss_of(function), argnums=[0])
    compiled_gradient = mx.compile(gradient, shapeless=True)
    for rows in (4, 1, 9):
        arrays = rows_of(rows)[name][1]
        assert_close(compiled(*arrays), function(*arrays))
        assert_close(compiled_gradient(*arrays), gradient(*arrays))
    if has_kernels(device):  # MLX's compiled kernels, which the composites become, crash on empty arrays
        arrays = rows_of(0)[name][1]
        assert_close(compiled(*arrays), function(*arrays))


@pytest.mark.metal
def test_shapeless_compile_of_packed_geglu(device):
    if not has_kernels(device):
        pytest.skip("the composite splits gate, and MLX cannot replay a split with other shapes")
    compiled = mx.compile(lambda x: _mlx.geglu(x, None, "sigmoid"), shapeless=True)
    for shape in ((3, 8), (5, 2), (1, 6)):
        x = normal(*shape)
        assert_close(compiled(x), _mlx.geglu(x, None, "sigmoid"))


@pytest.mark.metal
@pytest.mark.parametrize(
    "options",
    [
        (0, None, None, None, None, False, True),
        (1, None, 3, None, 2.0, False, False),
        (2, 0.3, 2, 1, None, False, True),
    ],
    ids=["plain", "causal window softcap", "upper left"],
)
@pytest.mark.parametrize("with_mask", [False, True])
def test_shapeless_compile_of_attention(options, with_mask):
    """Neither the lengths nor 1/sqrt(head_dim) may be fixed in the graph, in gradients neither."""

    def function(q, k, v, mask):
        return _mlx.sdpa(q, k, v, mask if with_mask else None, None, *options)

    gradient = mx.grad(loss_of(function), argnums=[0, 1, 2])
    compiled, compiled_gradient = mx.compile(function, shapeless=True), mx.compile(gradient, shapeless=True)
    for batch, queries, keys, dim in ((2, 5, 7, 8), (1, 1, 9, 8), (3, 6, 4, 8), (1, 8, 8, 16)):
        arrays = [normal(batch, 4, queries, dim), normal(batch, 2, keys, dim), normal(batch, 2, keys, dim)]
        arrays.append(normal(1, 1, queries, keys))
        assert_close(compiled(*arrays), function(*arrays))
        assert_close(compiled_gradient(*arrays), gradient(*arrays))


@pytest.mark.metal
def test_compile_tells_calls_with_other_options_apart():
    """Pain 22. mx.compile merges nodes that say they are equal."""
    q, k, v = normal(1, 2, 5, 8), normal(1, 2, 5, 8), normal(1, 2, 5, 8)
    row, bias, square = normal(5), normal(2), normal(2, 2)
    calls = {
        "scale": [(0, s, None, None, None, False, False) for s in (None, 0.1, 0.2)],
        "causal": [(c, None, None, None, None, False, False) for c in (0, 1)],
        "window": [
            (0, None, left, right, None, False, False) for left, right in ((1, 2), (2, 1), (1, None), (None, 1))
        ],
        "softcap": [(0, None, None, None, c, False, False) for c in (None, 1.0, 2.0)],
        "return_lse": [(0, None, None, None, None, False, r) for r in (False, True)],
    }
    for options in calls.values():
        functions = [lambda o=o: listed(_mlx.sdpa(q, k, v, None, None, *o))[-1] for o in options]
        assert_all_differ(functions)
    lower, upper = ((c, None, None, None, None, False, False) for c in (1, 2))
    assert_all_differ([lambda o=o: _mlx.sdpa(q[:, :, :3], k, v, None, None, *o) for o in (lower, upper)])
    plain = (0, None, None, None, None, False, False)
    as_mask_or_sinks = [(normal(1).reshape(1), None), (None, None)]
    assert_all_differ([lambda m=m: _mlx.sdpa(q[:, :1], k[:, :1], v[:, :1], *m, *plain) for m in as_mask_or_sinks])
    one = mx.array([0.7])
    head = q[:, :1]
    assert_all_differ([lambda m=m: _mlx.sdpa(head, head, head, *m, *plain) for m in ((one, None), (None, one))])
    x = normal(5)
    assert_all_differ([lambda e=e: _mlx.rms_norm(x, row, None, e, 0.0) for e in (1e-3, 1e-1)])
    assert_all_differ([lambda o=o: _mlx.rms_norm(x, row, None, 1e-3, o) for o in (0.0, 1.0)])
    assert_all_differ([lambda w=w: listed(_mlx.rms_norm(x, *w, 1e-3, 0.0))[0] for w in ((row, None), (None, row))])
    assert_all_differ([lambda a=a: _mlx.gelu(square, bias, a) for a in ("none", "tanh", "sigmoid")])
    assert_all_differ([lambda a=a: _mlx.geglu(square, square, a) for a in ("none", "tanh", "sigmoid")])


def assert_all_differ(functions):
    alone = [function() for function in functions]
    together = mx.compile(lambda: [function() for function in functions])()
    assert_close(together, alone)
    for first, second in itertools.combinations(alone, 2):
        assert not mx.array_equal(first, second)


@pytest.mark.metal
@pytest.mark.parametrize("case", ["rms_norm weight and residual", "gelu tanh", "geglu none", "sdpa everything"])
def test_checkpoint(case):
    function, arrays = native(case)
    plain, checkpointed = (
        mx.grad(loss_of(f), argnums=list(range(len(arrays)))) for f in (function, mx.checkpoint(function))
    )
    assert_close(checkpointed(*arrays), plain(*arrays))


def block(x, w):
    """A few operators that depend on one another."""
    h, x = fusedops.rms_norm(x, w, residual=x)
    h = fusedops.gelu(h, approximate="tanh")
    q = h.reshape(1, 2, -1, h.shape[-1] // 2)
    return x + fusedops.sdpa(q, q, q, causal=True).reshape(h.shape)


@pytest.mark.metal
def test_streams(device):
    x, w = normal(6, 16), normal(16)
    expected = block(x, w)
    streams = [mx.new_stream(device) for _ in range(2)]
    chained = x
    for stream in streams:
        with mx.stream(stream):
            chained = block(chained, w)
    assert_close(chained, block(expected, w))
    results = []
    for stream in streams * 5:
        with mx.stream(stream):
            results.append(block(x, w))
    mx.async_eval(results)
    for result in results:
        assert_close(result, expected)


@pytest.mark.metal
def test_derivatives_taken_under_another_default_stream(device):
    stream, other = mx.new_stream(device), mx.new_stream(device)
    q = normal(1, 2, 4, 8)
    mx.eval(q)

    def function(q):
        with mx.stream(stream):
            return _mlx.sdpa(q, q, q, q @ q.swapaxes(2, 3), None, 1, None, None, None, 2.0, False, False)

    expected = mx.grad(lambda q: function(q).sum())(q)
    with mx.stream(other):
        gradient = mx.grad(lambda q: function(q).sum())(q)
        assert_close(gradient, expected)


@pytest.mark.metal
def test_threads(device):
    x, w = normal(6, 16), normal(16)
    expected = block(x, w), mx.grad(lambda x: block(x, w).sum())(x)
    mx.eval(x, w, expected)
    results = {}

    def work(index):
        with mx.stream(mx.new_stream(device)):
            for _ in range(10):
                results[index] = block(x, w), mx.grad(lambda x: block(x, w).sum())(x)
                mx.eval(results[index])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == len(threads)
    for result in results.values():
        assert_close(result, expected)


@pytest.mark.metal
def test_inputs_are_neither_changed_nor_donated():
    x, residual = normal(64, 64), normal(64, 64)
    copies = mx.array(x), mx.array(residual)
    mx.eval(x, residual, copies)
    total = mx.zeros((64, 64))
    for _ in range(20):
        y, _ = _mlx.rms_norm(x + 0, None, residual + 0, 1e-6, 0.0)
        total = total + _mlx.gelu(y * 1, None, "none") + _mlx.geglu(x * 1, residual * 1, "none")
    y, _ = _mlx.rms_norm(x, None, residual, 1e-6, 0.0)
    once = _mlx.gelu(y, None, "none") + _mlx.geglu(x, residual, "none")
    assert mx.allclose(total, 20 * once, rtol=1e-4, atol=1e-4)
    assert mx.array_equal(x, copies[0])
    assert mx.array_equal(residual, copies[1])


def test_export_is_refused(device, tmp_path):
    """MLX writes its own primitives only (docs/design.md): it says which one it cannot."""
    if not has_kernels(device):
        pytest.skip("composites are MLX's own primitives")
    x = normal(2, 3, 8)
    mx.export_function(str(tmp_path / "own.mlxfn"), lambda x: mx.fast.rms_norm(x, None, 1e-6), x)
    q = x[None]
    calls = {
        "FusedRmsNorm": lambda: mx.export_function(
            str(tmp_path / "f"), lambda x: _mlx.rms_norm(x, None, None, 1e-6, 0.0), x
        ),
        "FusedGelu": lambda: mx.export_function(str(tmp_path / "f"), lambda x: _mlx.gelu(x, None, "none"), x),
        "FusedGeglu": lambda: mx.export_function(str(tmp_path / "f"), lambda x: _mlx.geglu(x, None, "none"), x),
        "FusedSdpa": lambda: mx.export_function(str(tmp_path / "f"), lambda q: fusedops.sdpa(q, q, q), q),
    }
    for name, export in calls.items():
        with pytest.raises(ValueError, match=f"Unable to serialize primitive {name}"):
            export()
