"""sdpa_varlen beyond the shared cases: equal to sdpa in every bit, wrong offsets, gradients, transforms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fusedops
from fusedops.verification import cases
from fusedops.verification.frameworks import Framework, available, everywhere

HAVE_KERNELS = [f for f in available() if f.name in ("numpy", "torch-cpu", "mlx-cpu")]
COMPOSITES = [f for f in available() if not f.has_deterministic]
on_kernels = pytest.mark.parametrize("framework", HAVE_KERNELS, ids=str)
LENGTHS = ((1, 2100), (0, 3), (7, 7), (40, 90), (3, 0), (1, 1), (120, 400))
OPTIONS: dict[str, Any] = {"causal": True, "window": (1500, None), "softcap": 4.0}


class Packed:
    """Packed sequences as a framework's arrays."""

    def __init__(self, framework: Framework, lengths: tuple[tuple[int, int], ...] = LENGTHS, dtype: str = "float32"):
        case = cases.SdpaVarlenCase(lengths, (4, 2), (32, 24))
        random = case.random()
        self.offsets = case.offsets()
        self.longest = dict(zip(("max_seqlen_q", "max_seqlen_k"), case.longest(), strict=True))
        totals = [int(own[-1]) for own in self.offsets]
        shapes = ((totals[0], 4, 32), (totals[1], 2, 32), (totals[1], 2, 24))
        self.qkv = [framework.array(random.normal(size=shape), dtype) for shape in shapes]
        self.sinks = framework.array(random.normal(size=4), "float32")
        self.cu_seqlens = [framework.array(own, "int32") for own in self.offsets]

    def attend(self, **options: Any) -> Any:
        return fusedops.sdpa_varlen(*self.qkv, *self.cu_seqlens, **(self.longest | options))


@on_kernels
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("deterministic", [False, True])
def test_each_sequence_is_sdpa_of_it_alone(framework: Framework, dtype: str, deterministic: bool) -> None:
    packed = Packed(framework, dtype=dtype)
    options = {**OPTIONS, "sinks": packed.sinks, "deterministic": deterministic, "return_lse": True}
    out, logsumexp = map(framework.numpy, packed.attend(**options))
    for i, (queries, keys) in enumerate(LENGTHS):
        starts = (int(packed.offsets[0][i]), int(packed.offsets[1][i]), int(packed.offsets[1][i]))
        ends = [start + length for start, length in zip(starts, (queries, keys, keys), strict=True)]
        alone = (x[a:b].swapaxes(0, 1)[None] for x, a, b in zip(packed.qkv, starts, ends, strict=True))
        own, own_logsumexp = map(framework.numpy, fusedops.sdpa(*alone, **options))
        np.testing.assert_array_equal(out[starts[0] : ends[0]], own[0].swapaxes(0, 1))
        np.testing.assert_array_equal(logsumexp[:, starts[0] : ends[0]], own_logsumexp[0])


WRONG = [
    ("q", [0, 1, 4], {}, "cu_seqlens_q must end with 5, the length of q, got 4"),
    ("q", [1, 1, 5], {}, "cu_seqlens_q must begin with 0, got 1"),
    ("q", [0, 6, 5], {}, "max_seqlen_q must be at least 6, the length of a sequence in cu_seqlens_q, got 4"),
    ("k", [0, 8, 7], {"max_seqlen_k": 8}, "cu_seqlens_k must not decrease, got 7 after 8"),
    ("k", [0, 2, 7], {"max_seqlen_k": 4}, "max_seqlen_k must be at least 5"),
    ("k", [0, -2, 7], {"max_seqlen_k": 9}, "cu_seqlens_k must not decrease, got -2 after 0"),
]


def wrong(framework: Framework, letter: str, values: list[int]) -> tuple[Packed, Any]:
    packed = Packed(framework, ((1, 2), (4, 5)))
    offsets = framework.array(np.array(values), "int32")
    packed.cu_seqlens["qk".index(letter)] = offsets
    return packed, offsets


@on_kernels
@pytest.mark.parametrize(("letter", "values", "options", "message"), WRONG, ids=str)
def test_offsets_that_do_not_fit(
    framework: Framework, letter: str, values: list[int], options: dict[str, Any], message: str
) -> None:
    packed, _ = wrong(framework, letter, values)
    with pytest.raises(ValueError, match=message):
        packed.attend(**options)


@pytest.mark.parametrize("framework", [f for f in everywhere() if f not in HAVE_KERNELS], ids=str)
@pytest.mark.parametrize(("letter", "values", "options", "message"), WRONG, ids=str)
def test_offsets_that_nobody_looks_at(
    framework: Framework, letter: str, values: list[int], options: dict[str, Any], message: str
) -> None:
    """Where looking would mean to wait for a device the result is NaN throughout; nothing is read out of bounds."""
    packed, _ = wrong(framework, letter, values)
    arguments = (*packed.qkv, *packed.cu_seqlens)
    if framework.name == "mlx-composite":  # which has the values at hand on a CPU
        with pytest.raises(ValueError, match=message):
            framework.operators.sdpa_varlen(*arguments, **(packed.longest | options))
        return
    for result in framework.operators.sdpa_varlen(*arguments, **(packed.longest | options), return_lse=True):
        assert np.isnan(framework.numpy(result)).all()


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("path", ["sdpa_varlen", "sdpa_varlen_composite"])
def test_mlx_offsets_that_are_not_evaluated_yet(dtype: str, path: str) -> None:
    mx = pytest.importorskip("mlx.core")
    from fusedops import _mlx

    framework = next(f for f in HAVE_KERNELS if f.name == "mlx-cpu")
    framework.activate()
    packed = Packed(framework, ((1, 2), (4, 5)), dtype)
    options = (None, 4, 5, 0, None, None, None, None, False, True)
    right = getattr(_mlx, path)(*packed.qkv, packed.cu_seqlens[0] + 0, packed.cu_seqlens[1], *options)
    assert all(mx.isfinite(result).all() for result in right)
    wrong = getattr(_mlx, path)(*packed.qkv, packed.cu_seqlens[0] + 1, packed.cu_seqlens[1], *options)
    assert all(mx.isnan(result).all() for result in wrong)


def float64_gradients(values: list[Any], packed: Packed, cotangents: list[Any]) -> list[Any]:
    """Return the gradients of q, k, v and sinks by torch's autograd through the composite, in float64."""
    import torch

    from fusedops.backends.torch.operators import sdpa_varlen

    tensors = [torch.from_numpy(x.copy()).requires_grad_() for x in values]
    offsets = (torch.from_numpy(x).int() for x in packed.offsets)
    options = (*packed.longest.values(), 1, None, 30, None, 2.0, False)
    out, logsumexp = sdpa_varlen.OPERATOR.composite(*tensors[:3], *offsets, tensors[3], *options)
    logsumexp = torch.where(logsumexp.isneginf(), 0, logsumexp)
    total = sum((x * torch.from_numpy(y)).sum() for x, y in zip((out, logsumexp), cotangents, strict=True))
    return [x.numpy() for x in torch.autograd.grad(total, tensors)]


@pytest.mark.parametrize("framework", [f for f in HAVE_KERNELS if f.name != "numpy"], ids=str)
def test_gradients_against_float64(framework: Framework) -> None:
    pytest.importorskip("torch")
    packed = Packed(framework, ((5, 40), (0, 3), (20, 20), (6, 2), (3, 0)))
    random = np.random.default_rng(3)
    cotangents = [random.normal(size=(34, 4, 24)), random.normal(size=(4, 34))]
    arrays = [*packed.qkv, packed.sinks]
    expected = float64_gradients([framework.numpy(x) for x in arrays], packed, cotangents)
    options = {"causal": True, "window": (30, None), "softcap": 2.0, "return_lse": True, **packed.longest}

    def loss(q: Any, k: Any, v: Any, sinks: Any) -> Any:
        out, logsumexp = fusedops.sdpa_varlen(q, k, v, *packed.cu_seqlens, sinks=sinks, **options)
        weights = [framework.array(x, "float32") for x in cotangents]
        return (out * weights[0]).sum() + where(logsumexp == -np.inf, 0.0, logsumexp * weights[1]).sum()

    if framework.name == "torch-cpu":
        import torch

        where = torch.where
        gradients = torch.func.grad(loss, argnums=(0, 1, 2, 3))(*arrays)
        leaves = [x.requires_grad_() for x in arrays]
        for ours, transformed in zip(torch.autograd.grad(loss(*leaves), leaves), gradients, strict=True):
            torch.testing.assert_close(ours, transformed)
    else:
        import mlx.core as mx

        where = mx.where
        gradients = mx.grad(loss, argnums=[0, 1, 2, 3])(*arrays)
    for gradient, exact in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(framework.numpy(gradient), exact, atol=5e-6 * np.abs(exact).max())


def test_torch_compile_and_export() -> None:
    torch = pytest.importorskip("torch")
    packed = Packed(next(f for f in HAVE_KERNELS if f.name == "torch-cpu"))
    expected = packed.attend(**OPTIONS)

    class Module(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, *arrays: Any) -> Any:
            return fusedops.sdpa_varlen(*arrays, **packed.longest, **OPTIONS)

    arrays = (*packed.qkv, *packed.cu_seqlens)
    compiled = torch.compile(Module(), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*arrays), expected, rtol=0, atol=0)
    exported = torch.export.export(Module(), arrays).module()
    torch.testing.assert_close(exported(*arrays), expected, rtol=0, atol=0)
    q = packed.qkv[0].clone().requires_grad_()
    compiled(q, *arrays[1:]).sum().backward()
    assert q.grad.isfinite().all()


def test_torch_vmap_of_offsets_is_refused() -> None:
    torch = pytest.importorskip("torch")
    packed = Packed(next(f for f in HAVE_KERNELS if f.name == "torch-cpu"), ((1, 2), (4, 5)))
    offsets = packed.cu_seqlens[0].repeat(3, 1)
    with pytest.raises(ValueError, match="cu_seqlens_q must not be mapped by vmap"):
        torch.func.vmap(lambda own: fusedops.sdpa_varlen(*packed.qkv, own, packed.cu_seqlens[1], **packed.longest))(
            offsets
        )


def test_mlx_transforms() -> None:
    mx = pytest.importorskip("mlx.core")
    mx.set_default_device(mx.cpu)
    packed = Packed(next(f for f in HAVE_KERNELS if f.name == "mlx-cpu"), ((3, 5), (0, 1), (6, 6)))
    more = [mx.stack([x, 2 * x], axis=1) for x in packed.qkv]

    def attend(q: Any, k: Any, v: Any) -> Any:
        arrays = (q, k, v, *packed.cu_seqlens)
        return fusedops.sdpa_varlen(*arrays, sinks=packed.sinks, return_lse=True, **packed.longest, **OPTIONS)

    for axes, arrays in (((1, 1, 1), more), ((1, None, None), [more[0], *packed.qkv[1:]])):
        mapped = mx.vmap(attend, in_axes=axes)(*arrays)
        for i in range(2):
            one = attend(*(x[:, i] if axis is not None else x for x, axis in zip(arrays, axes, strict=True)))
            assert all(mx.array_equal(whole[i], part) for whole, part in zip(mapped, one, strict=True))
    compiled = mx.compile(attend, shapeless=True)
    assert all(mx.array_equal(*pair) for pair in zip(compiled(*packed.qkv), attend(*packed.qkv), strict=True))
    with pytest.raises(ValueError, match="cu_seqlens_k must not be mapped by vmap"):
        arguments = (*packed.qkv, packed.cu_seqlens[0], mx.stack([packed.cu_seqlens[1]] * 2))
        mx.vmap(lambda *x: fusedops.sdpa_varlen(*x, **packed.longest), in_axes=(None,) * 4 + (0,))(*arguments)
    gradient = mx.grad(lambda q: attend(q, *packed.qkv[1:])[0].sum())
    (tangent,) = mx.jvp(lambda q: attend(q, *packed.qkv[1:])[0].sum(), [packed.qkv[0]], [packed.qkv[0]])[1]
    assert mx.allclose(tangent, (gradient(packed.qkv[0]) * packed.qkv[0]).sum(), atol=1e-4)


@pytest.mark.parametrize("framework", COMPOSITES, ids=str)
def test_composites_refuse_deterministic(framework: Framework) -> None:
    packed = Packed(framework, ((1, 2), (4, 5)))
    with pytest.raises(ValueError, match="deterministic must be False where"):
        framework.operators.sdpa_varlen(*packed.qkv, *packed.cu_seqlens, **packed.longest, deterministic=True)
