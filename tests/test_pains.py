"""What has hurt users of other systems, one named test each (issue numbers of pytorch/pytorch and ml-explore/mlx).

Pain 19, slower than matmul and softmax, and pain 20 are about memory: tests/test_memory.py measures it on CPUs,
tests/metal/test_device_memory.py for Metal kernels. tests/metal/test_large_strides.py has their part of pains 3 and 4.
"""

from __future__ import annotations

import dataclasses
import functools
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fusedops
from fusedops.verification import cases, problems, reference
from fusedops.verification.cases import SdpaCase
from fusedops.verification.frameworks import Framework, MlxFramework, TorchFramework, available, everywhere

on_every_backend = pytest.mark.parametrize("framework", everywhere(), ids=str)
on_kernels = pytest.mark.parametrize("framework", [f for f in available() if f.has_deterministic], ids=str)
on_every_kernel = pytest.mark.parametrize("framework", [f for f in everywhere() if f.has_deterministic], ids=str)
on_torch = pytest.mark.parametrize("framework", [f for f in available() if isinstance(f, TorchFramework)], ids=str)
on_mlx = pytest.mark.parametrize("framework", [f for f in available() if isinstance(f, MlxFramework)], ids=str)


def normal(framework: Framework, *shape: int, dtype: str = "float32", seed: int = 0) -> tuple[Any, Any]:
    """Return a random array and its float64 values."""
    array = framework.array(np.random.default_rng([seed, *shape]).normal(size=shape), dtype)
    return array, framework.numpy(array)


def qkv(framework: Framework, case: SdpaCase, dtype: str = "float32") -> tuple[list[Any], list[Any]]:
    """Return q, k, v as arrays and as values."""
    (query_heads, kv_heads), (queries, keys), (head_dim, value_dim) = case.heads, case.lengths, case.dims
    shapes = [(query_heads, queries, head_dim), (kv_heads, keys, head_dim), (kv_heads, keys, value_dim)]
    pairs = [normal(framework, case.batch, *shape, dtype=dtype, seed=i) for i, shape in enumerate(shapes)]
    return [array for array, _ in pairs], [values for _, values in pairs]


@on_every_backend
@pytest.mark.parametrize("layout", cases.LAYOUTS[1:])
def test_pain_1_non_contiguous_inputs(framework: Framework, layout: str) -> None:
    """Non-contiguous q, k, v gave wrong results (pt#181133, pt#163597)."""
    problems.check_sdpa(framework, SdpaCase(2, (6, 2), (9, 21), (24, 24), causal=True, layout=layout), "float32")


@on_every_backend
@pytest.mark.parametrize("keys", [1, 31, 33, 63, 65, 1023, 1025, 2049])
def test_pain_2_key_length_no_multiple_of_32(framework: Framework, keys: int) -> None:
    """Split-K decoding read out of bounds where the key length was no multiple of 32 (pt#174861, pt#169222).

    The keys end where the memory that follows holds NaN.
    """
    case = SdpaCase(1, (4, 2), (1, keys), (64, 64))
    (q, _, _), (q_values, k_values, v_values) = qkv(framework, case)
    poisoned = [np.concatenate([values, np.full((1, 2, 40, 64), np.nan)], 2) for values in (k_values, v_values)]
    k, v = (framework.array(values, "float32")[:, :, :keys] for values in poisoned)
    out = framework.numpy(framework.operators.sdpa(q, k, v))
    exact, _ = reference.sdpa(q_values, k_values, v_values)
    np.testing.assert_allclose(out, exact, atol=2e-6)


@pytest.mark.parametrize("framework", [f for f in available() if f.name in ("numpy", "torch-cpu")], ids=str)
@pytest.mark.parametrize("queries", [1, 40])
def test_pains_3_and_4_offsets_beyond_32_bits(framework: Framework, queries: int) -> None:
    """Offsets of scores, masks and keys overflowed 32 bits (pt#179352, pt#149261, mlx#2894, mlx#3361).

    Keys, values and the mask's columns lie so far apart that the last begin beyond 2^32 elements; of the memory between
    them nothing is touched, so it takes none.
    """
    keys, apart = 6, (1 << 30) + 24

    def spread(values: Any) -> Any:
        memory = np.zeros(apart * (keys - 1) + values.shape[1], np.float16)
        view = np.lib.stride_tricks.as_strided(memory, values.shape, (2 * apart, 2))
        view[:] = values
        return view

    random = np.random.default_rng(3)
    q = random.normal(size=(1, 1, queries, 16)).astype(np.float16)
    k, v, mask = (spread(random.normal(size=(keys, columns))) for columns in (16, 16, queries))
    arrays = [q, k[None, None], v[None, None], mask.T]
    exact, _ = reference.sdpa(*(np.float64(array) for array in arrays[:3]), mask=np.float64(arrays[3]))
    if isinstance(framework, TorchFramework):
        import torch

        arrays = [torch.from_numpy(array) for array in arrays]
    out = framework.operators.sdpa(*arrays[:3], mask=arrays[3])
    np.testing.assert_allclose(framework.numpy(out), exact, atol=2e-3)


@on_kernels
def test_pain_3_more_than_2_32_scores(framework: Framework) -> None:
    """Results were garbage where there are more than 2^32 scores (pt#179352). Few of them are in the window."""
    length, rows, window = 66000, 100, 16
    (q, k, v), values = qkv(framework, SdpaCase(1, (1, 1), (length, length), (8, 8)))
    visible = np.random.default_rng(1).random(length) < 0.7
    mask = framework.broadcast(framework.array(visible[None], "bool"), (length, length))
    out = framework.numpy(framework.operators.sdpa(q, k, v, mask=mask, window=window))
    for end in (rows + window, length // 2, length):
        keys, queries = slice(end - rows - window, end), slice(end - rows, end)
        part = (values[0][:, :, queries], *(x[:, :, keys] for x in values[1:]))
        exact, _ = reference.sdpa(*part, mask=visible[keys], window=window)
        np.testing.assert_allclose(out[:, :, queries], exact, atol=2e-6)


@on_every_backend
@pytest.mark.parametrize(("queries", "window"), [(1, None), (33, 1000)])
def test_pain_4_more_keys_than_16_bits_count(framework: Framework, queries: int, window: int | None) -> None:
    """Keys beyond the 32768th were masked by what stands elsewhere (mlx#3361)."""
    (q, k, v), values = qkv(framework, SdpaCase(1, (2, 1), (queries, 66000), (8, 8)))
    mask, mask_values = normal(framework, 66000)
    out = framework.numpy(framework.operators.sdpa(q, k, v, mask=mask, causal=True, window=window))
    seen = slice(None) if window is None else slice(-window - queries, None)
    part = (values[0], *(x[:, :, seen] for x in values[1:]))
    exact, _ = reference.sdpa(*part, mask=mask_values[seen], causal=True, window=window)
    np.testing.assert_allclose(out, exact, atol=2e-6)


@on_every_backend
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("queries", [4, 40])
def test_pain_5_the_future_has_no_influence(framework: Framework, dtype: str, queries: int) -> None:
    """Causal attention in 16 bits let later tokens in (pt#195910): not one bit of a row may depend on them."""
    (q, k, v), values = qkv(framework, SdpaCase(1, (4, 2), (queries, queries), (64, 64)), dtype)
    before = framework.numpy(framework.operators.sdpa(q, k, v, causal=True))
    for key in (queries // 2, queries - 1):
        changed = [array.copy() for array in values[1:]]
        for array in changed:
            array[:, :, key:] = 50 * np.random.default_rng(key).normal(size=array[:, :, key:].shape)
        arrays = [framework.array(array, dtype) for array in changed]
        after = framework.numpy(framework.operators.sdpa(q, *arrays, causal=True))
        np.testing.assert_array_equal(after[:, :, :key], before[:, :, :key])
        assert (after[:, :, key:] != before[:, :, key:]).any()


@on_every_backend
@pytest.mark.parametrize("kind", ["bool", "float32"])
@pytest.mark.parametrize("queries", [1, 40])
def test_pain_6_fully_masked_rows_give_zeros(framework: Framework, kind: str, queries: int) -> None:
    """Rows that see nothing gave NaN or the mean of v (pt#156707, mlx#2096)."""
    (q, k, v), _ = qkv(framework, SdpaCase(1, (2, 1), (queries, 33), (16, 16)))
    visible = np.random.default_rng(1).random((queries, 33)) < 0.5
    visible[0] = False
    values = visible if kind == "bool" else np.where(visible, 0.5, -np.inf)
    out, logsumexp = framework.operators.sdpa(q, k, v, mask=framework.array(values, kind), return_lse=True)
    assert (framework.numpy(out)[:, :, 0] == 0).all()
    assert (framework.numpy(logsumexp)[:, :, 0] == -np.inf).all()
    assert np.isfinite(framework.numpy(out)).all()


@on_every_backend
def test_pain_6_the_lowest_finite_bias_is_no_hidden_key(framework: Framework) -> None:
    """A row whose biases are all float32's lowest value attends to its keys alike, as softmax says."""
    (q, k, v), (_, _, v_values) = qkv(framework, SdpaCase(1, (1, 1), (3, 20), (16, 16)))
    mask = framework.array(np.full((3, 20), np.finfo(np.float32).min), "float32")
    out = framework.numpy(framework.operators.sdpa(q, k, v, mask=mask))
    np.testing.assert_allclose(out, np.broadcast_to(v_values.mean(2, keepdims=True), out.shape), atol=1e-6)


@on_every_backend
@pytest.mark.parametrize("queries", [3, 40])
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_pain_7_nan_in_q_propagates(framework: Framework, queries: int, poison: float) -> None:
    """NaN in q was swallowed (pt#188147)."""
    _, (q, k, v) = qkv(framework, SdpaCase(1, (2, 1), (queries, 50), (16, 16)))
    q[0, 1, 2, 5] = poison
    arrays = [framework.array(values, "float32") for values in (q, k, v)]
    for result in framework.operators.sdpa(*arrays, return_lse=True):
        values = framework.numpy(result)
        assert np.isnan(values[0, 1, 2]).all()
        values[0, 1, 2] = 0
        assert np.isfinite(values).all()


@on_every_backend
@pytest.mark.parametrize("queries", [3, 40])
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_pain_7_what_is_hidden_does_not_leak(framework: Framework, queries: int, poison: float) -> None:
    """NaN and infinity in keys and values reach the rows that see them, and no others (0 * NaN is NaN)."""
    _, (q, k, v) = qkv(framework, SdpaCase(1, (2, 1), (queries, queries), (16, 16)))
    v[0, 0, 2, 3] = poison
    arrays = [framework.array(values, "float32") for values in (q, k, v)]
    out = framework.numpy(framework.operators.sdpa(*arrays, causal=True))
    exact, _ = reference.sdpa(q, k, v, causal=True)
    np.testing.assert_allclose(out, exact, atol=2e-6)
    k[0, 0, 1, 3] = np.nan
    out = framework.numpy(framework.operators.sdpa(arrays[0], framework.array(k, "float32"), arrays[2], causal=True))
    assert np.isfinite(out[:, :, 0]).all()
    assert np.isnan(out[:, :, 1:]).all()


@on_every_backend
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_pain_7_what_few_rows_see_reaches_only_those(framework: Framework, poison: float) -> None:
    """A value that only the last of many rows see; and a mask that hides NaN keys and values beside a visible one."""
    _, (q, k, v) = qkv(framework, SdpaCase(1, (2, 1), (32, 45), (16, 16)))
    v[0, 0, 40, 3] = poison
    out = framework.numpy(framework.operators.sdpa(*(framework.array(x, "float32") for x in (q, k, v)), causal=True))
    np.testing.assert_allclose(out, reference.sdpa(q, k, v, causal=True)[0], atol=2e-6)

    visible = np.random.default_rng(4).random((32, 45)) < 0.5
    hidden = np.array([5, 17, 33])
    visible[:, hidden] = False
    k[0, 0, hidden], v[0, 0, hidden] = np.nan, np.nan
    arrays = [framework.array(x, "float32") for x in (q, k, v)]
    out = framework.numpy(framework.operators.sdpa(*arrays, mask=framework.array(visible, "bool")))
    k[0, 0, hidden] = 0  # the reference multiplies all of them
    np.testing.assert_allclose(out, reference.sdpa(q, k, v, mask=visible)[0], atol=2e-6)


@on_every_backend
@pytest.mark.parametrize("causal", [True, "upper_left"])
@pytest.mark.parametrize("lengths", [(4, 9), (9, 4), (1, 9), (40, 60), (60, 40)])
def test_pain_8_causal_with_different_lengths(framework: Framework, causal: Any, lengths: tuple[int, int]) -> None:
    """Which keys a query sees differed between the frameworks where lengths differ (mlx#2835)."""
    problems.check_sdpa(framework, SdpaCase(1, (2, 2), lengths, (16, 16), causal=causal), "float32")


@on_every_backend
@pytest.mark.parametrize(
    "change",
    [{"window": 3}, {"softcap": 0.5}, {"scale": 0.9}, {"causal": True}, {"sinks": True}, {"mask": "bool"}],
    ids=str,
)
@pytest.mark.parametrize("lengths", [(1, 40), (5, 40), (40, 40)])
def test_pain_11_no_argument_is_ignored(framework: Framework, change: Any, lengths: tuple[int, int]) -> None:
    """An unsupported argument was silently ignored (pt#184126): each one changes the result, and rightly."""
    if change == {"causal": True} and lengths[0] == 1:
        return  # the last query sees all keys
    plain = SdpaCase(1, (2, 2), lengths, (16, 16))
    changed = dataclasses.replace(plain, **change)
    problems.check_sdpa(framework, changed, "float32")
    (q, k, v), values = qkv(framework, plain)
    exact_change = dict(change)
    if "sinks" in change:
        sinks = np.array([0.7, -0.2])
        change, exact_change = {"sinks": framework.array(sinks, "float32")}, {"sinks": sinks}
    if "mask" in change:
        mask = np.random.default_rng(3).random(lengths) < 0.5
        change, exact_change = {"mask": framework.array(mask, "bool")}, {"mask": mask}
    without, with_change = reference.sdpa(*values)[0], reference.sdpa(*values, **exact_change)[0]
    assert np.abs(without - with_change).max() > 1e-2
    out = framework.numpy(framework.operators.sdpa(q, k, v, **change))
    np.testing.assert_allclose(out, with_change, atol=2e-6)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("framework", [f for f in available() if f.operators is fusedops], ids=str)
@pytest.mark.parametrize("packed", [False, True])
def test_pain_10_memory_does_not_grow_with_varying_lengths(framework: Framework, packed: bool) -> None:
    """Every new length left memory behind (pt#152550, pt#181213)."""

    def resident_bytes() -> int:
        if framework.name.startswith("mlx"):
            import mlx.core as mx

            mx.clear_cache()  # MLX keeps buffers, up to a limit
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    def attend(length: int) -> None:
        shape = (length, 4, 64) if packed else (1, 4, length, 64)
        x = framework.array(np.ones(shape), "float32")
        if packed:
            offsets = framework.array(np.array([0, length // 3, length]), "int32")
            longest = {"max_seqlen_q": length, "max_seqlen_k": length}
            out = framework.operators.sdpa_varlen(x, x, x, offsets, offsets, causal=True, **longest)
        else:
            out = framework.operators.sdpa(x, x, x, causal=True)
        assert framework.numpy(out).shape == shape

    for length in (1, 300):
        attend(length)
    before = resident_bytes()
    for length in range(1, 300):  # 46 MB of outputs, and as much of each input
        attend(length)
    assert resident_bytes() - before < 16e6


def test_pain_10_metal_kernels_are_compiled_for_no_length() -> None:
    """What is cached on a Mac are kernels: however many lengths, they are few."""

    def kernels(length: int) -> set[str]:
        x = np.ones((1, 4, length, 64), np.float32)
        return {launch.name for launch in fusedops.explain("sdpa", x, x, x, causal=True).plan.launches}

    assert len(set().union(*(kernels(length) for length in range(1, 1000, 7)))) <= 4


@on_every_backend
@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("approximate", cases.GELU_FORMS)
def test_pain_12_gelu_of_large_values(framework: Framework, dtype: str, approximate: str) -> None:
    """tanh-GELU was NaN for bfloat16 beyond 10 (pt#186278)."""
    x = np.concatenate([np.linspace(-60, 60, 241), [-6e4, 6e4, -1e-7, 1e-7, np.inf, -np.inf, np.nan]])
    array = framework.array(x, dtype)
    y = framework.numpy(framework.operators.gelu(array, approximate=approximate))
    x = framework.numpy(array)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))
    large = x > 15
    np.testing.assert_array_equal(y[large], x[large])
    assert (np.abs(y[x < -60]) < 1e-30).all()


@on_every_backend
@pytest.mark.parametrize("queries", [1, 2, 9, 40])
def test_pain_15_sinks_do_not_depend_on_the_number_of_queries(framework: Framework, queries: int) -> None:
    """Sinks acted differently for one query and for several (mlx#3452)."""
    case = SdpaCase(1, (4, 2), (queries, 60), (16, 16))
    (q, k, v), values = qkv(framework, case)
    sinks, sink_values = normal(framework, 4)
    out = framework.numpy(framework.operators.sdpa(q, k, v, sinks=sinks))
    exact, _ = reference.sdpa(*values, sinks=sink_values)
    np.testing.assert_allclose(out, exact, atol=2e-6)
    last = framework.numpy(framework.operators.sdpa(q[:, :, -1:], k, v, sinks=sinks))
    np.testing.assert_allclose(last, out[:, :, -1:], atol=2e-6)


@on_every_backend
@pytest.mark.parametrize("queries", [1, 40])
def test_pain_15_sinks_far_above_and_below_the_scores(framework: Framework, queries: int) -> None:
    """A sink takes all of the weight, or none of it, without overflow."""
    (q, k, v), values = qkv(framework, SdpaCase(1, (2, 1), (queries, 60), (16, 16)))
    sinks = np.array([1000.0, -1000.0])
    array = framework.array(sinks, "float32")
    out, logsumexp = framework.operators.sdpa(q, k, v, sinks=array, return_lse=True)
    exact, exact_logsumexp = reference.sdpa(*values, sinks=sinks)
    np.testing.assert_allclose(framework.numpy(out), exact, atol=2e-6)
    np.testing.assert_allclose(framework.numpy(logsumexp), exact_logsumexp, rtol=1e-6)


@on_torch
def test_pain_16_vmap_with_gqa_torch(framework: Framework) -> None:
    """Vmap together with GQA hung (mlx#3383)."""
    import torch

    (q, k, v), values = qkv(framework, SdpaCase(6, (4, 2), (5, 7), (16, 16)))
    mapped = torch.func.vmap(framework.operators.sdpa)(*(x.reshape(3, 2, *x.shape[1:]) for x in (q, k, v)))
    exact, _ = reference.sdpa(*values)
    np.testing.assert_allclose(framework.numpy(mapped).reshape(exact.shape), exact, atol=2e-6)


@on_mlx
def test_pain_16_vmap_with_gqa_mlx(framework: Framework) -> None:
    """Vmap together with GQA hung (mlx#3383)."""
    import mlx.core as mx

    (q, k, v), values = qkv(framework, SdpaCase(6, (4, 2), (5, 7), (16, 16)))
    mapped = mx.vmap(framework.operators.sdpa)(*(x.reshape(3, 2, *x.shape[1:]) for x in (q, k, v)))
    exact, _ = reference.sdpa(*values)
    np.testing.assert_allclose(framework.numpy(mapped).reshape(exact.shape), exact, atol=2e-6)


@on_every_backend
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_pain_17_no_jump_where_the_kernel_changes(framework: Framework, dtype: str) -> None:
    """Results changed from 8 to 9 queries or keys, and between one and a batch (mlx#3573, mlx#3897)."""
    (q, k, v), values = qkv(framework, SdpaCase(3, (4, 2), (20, 40), (64, 64)), dtype)
    exact, _ = reference.sdpa(*values)
    naive, _ = reference.sdpa(*values, rounded=reference.Precision(dtype))
    for queries in range(1, 21):
        out = framework.numpy(framework.operators.sdpa(q[:, :, :queries], k, v))
        problems.assert_accurate(framework, out, exact[:, :, :queries], naive[:, :, :queries], dtype)
    for batch in range(3):
        one = slice(batch, batch + 1)
        out = framework.numpy(framework.operators.sdpa(q[one], k[one], v[one]))
        problems.assert_accurate(framework, out, exact[one], naive[one], dtype)
    for keys in (7, 8, 9, 10):
        shorter = (values[0], values[1][:, :, :keys], values[2][:, :, :keys])
        out = framework.numpy(framework.operators.sdpa(q, k[:, :, :keys], v[:, :, :keys]))
        naive, _ = reference.sdpa(*shorter, rounded=reference.Precision(dtype))
        problems.assert_accurate(framework, out, reference.sdpa(*shorter)[0], naive, dtype)


@on_every_kernel
@pytest.mark.parametrize("dtype", cases.DTYPES)
def test_pain_17_deterministic_rows_are_the_same_in_every_bit(framework: Framework, dtype: str) -> None:
    """With deterministic=True there is no change at all; more of it in tests/test_deterministic.py."""
    (q, k, v), _ = qkv(framework, SdpaCase(3, (4, 2), (20, 40), (64, 64)), dtype)
    attend = functools.partial(framework.operators.sdpa, deterministic=True)
    whole = framework.numpy(attend(q, k, v))
    for queries in range(1, 21):
        np.testing.assert_array_equal(framework.numpy(attend(q[:, :, :queries], k, v)), whole[:, :, :queries])
    for batch in range(3):
        one = slice(batch, batch + 1)
        np.testing.assert_array_equal(framework.numpy(attend(q[one], k[one], v[one])), whole[one])


@on_every_backend
@pytest.mark.parametrize("head_dim", [1, 33, 72, 100, 257])
def test_pain_18_odd_head_dims(framework: Framework, head_dim: int) -> None:
    """Odd head dimensions fell back to unfused operators, and nobody was told (mlx#3885, mlx#1604)."""
    case = SdpaCase(1, (2, 1), (20, 40), (head_dim, head_dim), causal=True)
    problems.check_sdpa(framework, case, "float16")
    q, k, v = (np.zeros((1, heads, length, head_dim), np.float16) for heads, length in ((2, 20), (1, 40), (1, 40)))
    explanation = fusedops.explain("sdpa", q, k, v, causal=True)
    assert explanation.execution.path == "cpu"
    assert all(launch.source.startswith("sdpa_") for launch in explanation.plan.launches)


@on_every_backend
def test_pain_20_gqa_reads_shared_heads_in_place(framework: Framework) -> None:
    """GQA copied K and V for every query head (pt#183280): equal to the copied form, without its memory."""
    (q, k, v), values = qkv(framework, SdpaCase(2, (12, 3), (4, 30), (16, 16)))
    out = framework.numpy(framework.operators.sdpa(q, k, v))
    copied = [framework.array(np.repeat(value, 4, 1), "float32") for value in values[1:]]
    np.testing.assert_allclose(out, framework.numpy(framework.operators.sdpa(q, *copied)), atol=2e-6)


@on_every_backend
@pytest.mark.parametrize("queries", [1, 5, 40])
@pytest.mark.parametrize("kind", ["bool", "float32"])
def test_pain_21_broadcast_mask_with_an_offset(framework: Framework, queries: int, kind: str) -> None:
    """A stride-0 mask was read from the wrong offset (pt#184180)."""
    (q, k, v), values = qkv(framework, SdpaCase(2, (4, 4), (queries, 30), (16, 16)))
    random = np.random.default_rng(5)
    rows = random.random((7, 1, 1, 30)) < 0.6 if kind == "bool" else random.normal(size=(7, 1, 1, 30))
    base = framework.array(rows, kind)
    mask = framework.broadcast(base[3:4], (2, 4, queries, 30))
    out = framework.numpy(framework.operators.sdpa(q, k, v, mask=mask))
    exact, _ = reference.sdpa(*values, mask=framework.numpy(base)[3:4])
    np.testing.assert_allclose(out, exact, atol=2e-6)


@on_every_backend
def test_pain_22_every_scale_counts(framework: Framework) -> None:
    """A cache key ignored the scale (pt#184122)."""
    (q, k, v), values = qkv(framework, SdpaCase(1, (2, 2), (5, 30), (16, 16)))
    for scale in (0.1, 0.7, None, 0.1):
        out = framework.numpy(framework.operators.sdpa(q, k, v, scale=scale))
        np.testing.assert_allclose(out, reference.sdpa(*values, scale=scale)[0], atol=2e-6)


@on_every_backend
@pytest.mark.parametrize("queries", [1, 40])
def test_pain_23_softcap_comes_before_the_mask(framework: Framework, queries: int) -> None:
    """The softcap was left out, or took the mask's biases with it (vllm-metal#665)."""
    (q, k, v), values = qkv(framework, SdpaCase(1, (2, 1), (queries, 40), (16, 16)))
    bias = 20 * np.random.default_rng(6).normal(size=(queries, 40))  # far beyond the cap
    mask = framework.array(bias, "float32")
    bias = framework.numpy(mask)
    capped = reference.sdpa(*values, mask=bias, softcap=1.5)[0]
    uncapped = reference.sdpa(*values, mask=bias)[0]
    out = framework.numpy(framework.operators.sdpa(q, k, v, mask=mask, softcap=1.5))
    np.testing.assert_allclose(out, capped, atol=5e-6)
    assert np.abs(capped - uncapped).max() > 0.01


@on_every_backend
@pytest.mark.parametrize("columns", [16, 4096])
def test_pain_24_rms_norm_of_large_float16(framework: Framework, columns: int) -> None:
    """The sum of squares overflowed in float16 (pt#134106)."""
    x = framework.array(np.random.default_rng(2).uniform(2e4, 6e4, (3, columns)), "float16")
    y = framework.numpy(framework.operators.rms_norm(x))
    np.testing.assert_allclose(y, reference.rms_norm(framework.numpy(x), None, 1e-6, 0.0), rtol=1e-3)


@on_every_backend
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_pain_24_float32_weight_with_16_bit_input(framework: Framework, dtype: str) -> None:
    """A float32 weight with 16-bit input failed or changed the dtype (pt#187779)."""
    problems.check_rms_norm(framework, cases.RmsNormCase((3, 100), weight="float32"), dtype)


@on_torch
def test_pain_24_rms_norm_under_compile(framework: Framework) -> None:
    """rms_norm gave zeros under torch.compile (pt#150629)."""
    import torch

    if framework.operators is not fusedops:
        return  # the composites are not compiled: what switches to them cannot be traced
    x, values = normal(framework, 3, 32)
    compiled = torch.compile(lambda x: framework.operators.rms_norm(x * 2), backend="aot_eager", fullgraph=True)
    np.testing.assert_allclose(framework.numpy(compiled(x)), reference.rms_norm(2 * values, None, 1e-6, 0.0), atol=1e-5)
