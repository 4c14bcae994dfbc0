"""Where there is nothing to write a call returns at once, however many empty rows there are, and no product overflows.

What walked over the rows would take hours here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fusedops
from fusedops.backends.plans import ArrayLayout
from fusedops.verification.frameworks import Framework, available

# MLX's extents have 32 bits; its composites and torch's store a number for each row of attention.
ROWS = {"numpy": 2**40, "torch-cpu": 2**40, "torch-composite": 2**40, "mlx-cpu": 2**30, "mlx-composite": 2**30}
FRAMEWORKS = [framework for framework in available() if framework.name in ROWS]
on_cpu = pytest.mark.parametrize("framework", FRAMEWORKS, ids=str)


def empty(framework: Framework, *shape: int, dtype: str = "float32") -> Any:
    return framework.array(np.empty(shape), dtype)


@on_cpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_row_operators(framework: Framework, dtype: str) -> None:
    rows, operators = ROWS[framework.name], framework.operators
    x, none, wide = empty(framework, rows, 0, dtype=dtype), empty(framework, 0, dtype=dtype), empty(framework, rows, 0)
    results = [
        operators.rms_norm(x),
        operators.rms_norm(x, none, 0.0),
        *operators.rms_norm(x, none, residual=x),
        *operators.rms_norm(x, none, residual=wide),
        operators.gelu(x),
        operators.gelu(x, bias=none),
        operators.geglu(x, x),
        operators.geglu(x),
    ]
    for result in results:
        assert framework.numpy(result).shape == (rows, 0)


@on_cpu
def test_attention(framework: Framework) -> None:
    if framework.name == "torch-composite":
        pytest.skip("it makes the logsumexp, too, which no memory holds")
    rows, operators = ROWS[framework.name], framework.operators
    q, k = empty(framework, 1, 1, rows, 0), empty(framework, 1, 1, 3, 0)
    assert framework.numpy(operators.sdpa(q, k, k, causal=True)).shape == (1, 1, rows, 0)
    batch = empty(framework, rows, 1, 2, 0)
    assert framework.numpy(operators.sdpa(batch, batch, batch)).shape == (rows, 1, 2, 0)
    if framework.name == "mlx-composite":
        return  # its padded batch has all rows
    offsets = [framework.array(np.array(own), "int32") for own in ([0, 2**30], [0, 3])]
    packed, keys = empty(framework, 2**30, 1, 0), empty(framework, 3, 1, 0)
    out = operators.sdpa_varlen(packed, keys, keys, *offsets, max_seqlen_q=2**30, max_seqlen_k=3)
    assert framework.numpy(out).shape == (2**30, 1, 0)
    with pytest.raises(ValueError, match="cu_seqlens_k must end with 3"):
        bad = framework.array(np.array([0, 2]), "int32")
        framework.numpy(operators.sdpa_varlen(packed, keys, keys, offsets[0], bad, max_seqlen_q=2**30, max_seqlen_k=3))


def test_gradients_in_torch() -> None:
    torch = pytest.importorskip("torch")
    x, weight = torch.empty(2**40, 0, requires_grad=True), torch.empty(0, requires_grad=True)
    outputs = [fusedops.gelu(x), fusedops.gelu(x, bias=weight), fusedops.geglu(x, x), fusedops.geglu(x)]
    for output in outputs:
        gradients = torch.autograd.grad(output, (x, weight), output.detach(), allow_unused=True)
        assert gradients[0].shape == x.shape
    # The reciprocal of the root mean square is kept of each row: as many as memory holds.
    x = torch.empty(2**20, 0, requires_grad=True)
    for y in (fusedops.rms_norm(x, weight), fusedops.rms_norm(x, weight, residual=x)[0]):
        assert [g.shape for g in torch.autograd.grad(y, (x, weight), y.detach())] == [x.shape, weight.shape]


def test_gradients_in_mlx() -> None:
    mx = pytest.importorskip("mlx.core")
    x, weight = mx.zeros((2**30, 0)), mx.zeros((0,))
    q, k = x[None, None], mx.zeros((1, 1, 3, 0))
    functions = [
        lambda x, w: fusedops.rms_norm(x, w).sum(),
        lambda x, w: sum(y.sum() for y in fusedops.rms_norm(x, w, residual=x)),
        lambda x, w: fusedops.gelu(x, bias=w).sum(),
        lambda x, w: fusedops.geglu(x, x).sum() + w.sum(),
    ]
    for function in functions:
        gradients = mx.grad(function, argnums=(0, 1))(x, weight)
        mx.eval(gradients)
        assert [g.shape for g in gradients] == [x.shape, weight.shape]
    gradient = mx.grad(lambda q: fusedops.sdpa(q, k, k).sum())(q)
    mx.eval(gradient)
    assert gradient.shape == q.shape


HUGE = 2**40


def test_plans_and_extents_beyond_64_bits() -> None:
    empty = ArrayLayout("float32", (HUGE, HUGE, HUGE, 0), (0, 0, 0, 1))
    many = 2**30  # what Metal's parameters hold
    queries, keys = (ArrayLayout("float32", (many, many, length, 0), (0, 0, 0, 1)) for length in (many, 3))
    plans = [
        fusedops.rms_norm(empty),
        fusedops.rms_norm(empty, residual=empty),
        fusedops.gelu(empty),
        fusedops.geglu(empty),
        fusedops.sdpa(queries, keys, keys),
    ]
    for plan in plans:
        assert plan.launches == []
    assert "nothing: every result is empty" in str(fusedops.explain("sdpa", queries, keys, keys))


@pytest.mark.parametrize("framework", [f for f in FRAMEWORKS if f.name.startswith("mlx")], ids=str)
def test_more_elements_than_memory_has(framework: Framework) -> None:
    """MLX counts this array's elements modulo 2^64: it takes it for empty."""
    x = framework.broadcast(empty(framework, 1, 1, 1), (2**22, 2**21, 2**21))
    for call in (framework.operators.rms_norm, framework.operators.gelu, lambda x: framework.operators.geglu(x, x)):
        with pytest.raises(ValueError, match=r"(x|gate) must have fewer than \d+ elements, got shape \(4194304, "):
            call(x)
