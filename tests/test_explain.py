"""fusedops.explain says what would run, in words that are true."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import fusedops
from fusedops.verification.frameworks import Framework, available


def arrays(framework: Framework, *shapes: tuple[int, ...]) -> list[Any]:
    return [framework.array(np.random.default_rng(0).normal(size=shape), "float32") for shape in shapes]


@pytest.mark.parametrize("framework", [f for f in available() if f.operators is fusedops], ids=str)
def test_each_backend_says_how_it_runs(framework: Framework) -> None:
    framework.activate()
    (x, weight) = arrays(framework, (8, 4096), (4096,))
    explanation = fusedops.explain(fusedops.rms_norm, x, weight, weight_offset=1.0)
    path = "cpu" if framework.name in ("numpy", "torch-cpu", "mlx-cpu") else None
    assert explanation.operator == "rms_norm"
    assert path in (explanation.execution.path, None)
    assert explanation.execution.reason in str(explanation)
    assert "rms_norm<float, float, 4> of metal/rms_norm.metal: 8 x 1 x 1 threadgroups" in str(explanation)


def test_layout_decides_the_kernel() -> None:
    """Strided rows cannot be read in vectors, and few queries are worth another kernel than many."""
    x = np.ones((64, 128), np.float32)
    assert fusedops.explain("gelu", x).plan.launches[0].template_arguments == ["float", "4"]
    assert fusedops.explain("gelu", x.T).plan.launches[0].template_arguments == ["float", "1"]
    assert fusedops.explain("gelu", x[:, 1:]).plan.launches[0].template_arguments == ["float", "1"]
    q, keys = np.ones((1, 8, 100, 64), np.float32), np.ones((1, 8, 5000, 64), np.float32)
    few = keys[:, :, :500]
    assert [launch.kernel for launch in fusedops.explain("sdpa", q, few, v=few).plan.launches] == ["sdpa_prefill"]
    split = fusedops.explain("sdpa", q, keys, v=keys)
    assert [launch.kernel for launch in split.plan.launches] == ["sdpa_prefill", "sdpa_combine"]
    assert "keys split into 4 parts of up to 1280, since there are too few threadgroups otherwise" in str(split)
    for queries, kernel in ((1, "sdpa_decode_vector"), (2, "sdpa_decode_matrix")):
        decode = fusedops.explain("sdpa", q[:, :, :queries], keys, keys, causal=True)
        assert [launch.kernel for launch in decode.plan.launches] == [kernel, "sdpa_combine"]
        assert "scratch memory: " in str(decode)


def test_sdpa_in_words() -> None:
    """The figures, worked out by hand for 2 KV heads of 3 query heads each, 100 queries, 5000 keys, 64 and 32 wide."""
    q, k, v = (np.ones(shape, np.float32) for shape in ((1, 6, 100, 64), (1, 2, 5000, 64), (1, 2, 5000, 32)))
    words = str(fusedops.explain("sdpa", q, k, v, window=(40, 0)))
    assert "the prefill kernel: 300 rows (queries x query heads) for each KV head" in words
    # Two fragments of rows for each of 4 SIMD-groups; 32 keys of 64 and 32 floats, with 16 bytes of padding each.
    tiles = "tiles of 64 rows (22 queries of the 3 query heads of a KV head) by 32 keys; threadgroup memory 13.0 KiB"
    assert tiles in words
    assert "keys not split" in words
    assert "which hides 99.2 % of the scores" in words  # all but 41 of 5000
    assert "work: 4.7 MFLOP" in words  # 600 rows x 41 keys x 96 dimensions x 2
    # Keys 4859 to 4999 of both heads, and what comes of 600 rows.
    assert "q 153.6 kB, k and v 107.5 kB, results 76.8 kB" in words

    words = str(fusedops.explain("sdpa", q[:, :, :20, :50], k[..., :50], v, mask=np.ones((20, 5000), bool)))
    assert "padded to head_dim 64 and value_dim 32" in words
    assert "the mask's 100.0 kB" in words
    assert "skipped: nothing, every query sees every key; what the mask hides is computed and left out" in words
    assert "k is loaded element by element: its rows are not multiples of 16 bytes, aligned, and contiguous" in words

    words = str(fusedops.explain("sdpa", q[:, :, :4], k, v))
    assert "a threadgroup takes up to 16 rows, 8 in a matrix product by 16 keys; 4 SIMD-groups" in words
    assert "threadgroup memory 6.2 KiB" in words  # 3 x 4 x 512 bytes of sums, 32 softmaxes
    words = str(fusedops.explain("sdpa", q[:, :, :4], k[:, :, :600], v[:, :, :600]))
    assert (
        "a threadgroup for each row, since so few keys are in the cache; 16 SIMD-groups take 32 keys at a time" in words
    )
    assert "threadgroup memory 8.1 KiB" in words  # 16 times 512 bytes of sums and a softmax
    assert "once for each row, 5.5 MB, mostly from cache" in words  # 2 x 600 keys of 96 floats for 12 rows

    words = str(fusedops.explain("sdpa", np.ones((1, 8, 50, 576), np.float32), *2 * [np.ones((1, 1, 9, 576), "f")]))
    assert "the decode kernel: the prefill kernel's tiles have no place for so long a head_dim or value_dim" in words


def test_packed_sequences_in_words() -> None:
    """The figures for 5 queries of 6 query heads and 5000 keys of 2 KV heads, 64 and 32 wide."""
    q, k, v = (np.ones(shape, np.float32) for shape in ((5, 6, 64), (5000, 2, 64), (5000, 2, 32)))
    offsets = np.array([0, 2, 5], np.int32), np.array([0, 2500, 5000], np.int32)
    call = (fusedops.sdpa_varlen, q, k, v, *offsets)
    explanation = fusedops.explain(*call, max_seqlen_q=3, max_seqlen_k=4000)
    assert [launch.kernel for launch in explanation.plan.launches] == ["sdpa_decode_matrix", "sdpa_combine"]
    assert explanation.execution.path == "cpu"
    words = str(explanation)
    assert "the decode kernel: 9 rows (queries x query heads) for each KV head" in words
    assert "lengths are read on the device (2 sequences), wrong ones make every result NaN" in words
    assert "work: 192 FLOP for each query of a query head and each key that it sees" in words
    assert "device memory: 3.9 MB at least: q 7.7 kB, k and v 3.8 MB, results 3.8 kB; partial results" in words
    with pytest.raises(ValueError, match="v must have shape"):
        fusedops.explain("sdpa_varlen", q, k, v[1:], *offsets, max_seqlen_q=3, max_seqlen_k=4000)


@pytest.mark.parametrize("framework", [f for f in available() if f.operators is fusedops], ids=str)
def test_keywords_in_any_order(framework: Framework) -> None:
    """Whatever call the operator takes; what is no array does not pick the framework."""
    q, packed = arrays(framework, (1, 2, 5, 8), (5, 2, 8))
    offsets = framework.array(np.array([0, 5]), "int32")
    calls: list[tuple[str, dict[str, Any]]] = [
        ("sdpa", {"causal": True, "window": None, "v": q, "k": q, "q": q}),
        ("rms_norm", {"eps": 1e-5, "residual": None, "x": q}),
        ("geglu", {"up": None, "gate": q}),
        ("gelu", {"approximate": "tanh", "x": q}),
        ("sdpa_varlen", {"max_seqlen_k": 5, "max_seqlen_q": 5, "cu_seqlens_k": offsets, "cu_seqlens_q": offsets}),
    ]
    calls[-1][1].update(v=packed, k=packed, q=packed)
    for operator, arguments in calls:
        words = str(fusedops.explain(operator, **arguments))
        assert words == str(fusedops.explain(getattr(fusedops, operator), **dict(sorted(arguments.items()))))
    with pytest.raises(TypeError, match="'x'"):
        fusedops.explain("gelu", approximate="tanh")
    with pytest.raises(TypeError, match="'bias_'"):
        fusedops.explain("gelu", q, bias_=q)


@pytest.mark.parametrize("framework", [f for f in available() if f.operators is fusedops], ids=str)
def test_gradients_are_what_the_framework_has(framework: Framework) -> None:
    framework.activate()
    (q,) = arrays(framework, (1, 2, 5, 8))
    expected = {"numpy": ("There are no gradients",) * 2}
    on_cpus = ("Gradients are computed by fused kernels", "Gradients are recomputed by a composite")
    expected |= dict.fromkeys(("torch-cpu", "mlx-cpu"), on_cpus)
    of_rows, of_attention = expected.get(framework.name, on_cpus[1:] * 2)
    for operator in ("rms_norm", "gelu", "geglu"):
        assert of_rows in str(fusedops.explain(operator, q))
    assert of_attention in str(fusedops.explain("sdpa", q, q, q))


def test_it_can_be_pickled_and_copied() -> None:
    q = np.ones((1, 6, 4, 64), np.float32)
    originals = [
        fusedops.explain("sdpa", q, q, q),
        fusedops.explain("rms_norm", q),
        fusedops.explain("rms_norm", q, eps=1e-3),
        fusedops.explain("gelu", q),
        fusedops.explain("gelu", q[:0]),
    ]
    for original in originals:
        pickled = [pickle.dumps(original, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
        for other in (*map(pickle.loads, pickled), copy.deepcopy(original), copy.copy(original)):
            assert str(other) == str(original)
            assert other == original and hash(other) == hash(original)
            assert [launch.text for launch in other.plan.launches] == [launch.text for launch in original.plan.launches]
            assert [other == another for another in originals] == [original is another for another in originals]
    diagnosis = fusedops.doctor()
    assert str(pickle.loads(pickle.dumps(diagnosis))) == str(diagnosis) == str(copy.deepcopy(diagnosis))


def test_nothing_to_launch() -> None:
    assert "every result is empty" in str(fusedops.explain("gelu", np.ones((0, 5), np.float32)))


def test_bad_calls_are_refused_as_the_operators_refuse_them() -> None:
    x = np.ones((4, 8), np.float32)
    with pytest.raises(ValueError, match=r"weight must have shape \(8,\)"):
        fusedops.explain("rms_norm", x, np.ones(7, np.float32))
    with pytest.raises(ValueError, match=r"operator must be one of .*, got softmax"):
        fusedops.explain("softmax", x)
    with pytest.raises(TypeError, match=r"weight must be a numpy\.ndarray as the first array is, got list"):
        fusedops.explain("rms_norm", x, [1.0] * 8)
