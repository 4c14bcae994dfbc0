"""DTensors: every operator runs on shards, and its gradients, with the results of the whole."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor, init_device_mesh

import fusedops

PROCESSES = 2


def normal(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(31**i * size for i, size in enumerate(shape)))
    return torch.randn(shape, generator=generator)


OFFSETS = torch.tensor([0, 2, 6], dtype=torch.int32)
PACKED = {"cu_seqlens_q": OFFSETS, "cu_seqlens_k": OFFSETS, "max_seqlen_q": 4, "max_seqlen_k": 4}
X, ROW = normal(4, 6, 8), normal(8)
Q, K, V = normal(2, 8, 6, 16), normal(2, 4, 7, 16), normal(2, 4, 7, 5)
ROWS, REPLICATED = Shard(0), Replicate()

# What is called with which tensors, how each of these is placed, and the placement of the (first) result that needs no
# communication.
CASES: dict[str, tuple[Callable[..., Any], list[Tensor], list[Any], Any]] = {
    "rms_norm": (fusedops.rms_norm, [X, ROW], [ROWS, REPLICATED], ROWS),
    "rms_norm by the other dimension": (fusedops.rms_norm, [X, ROW], [Shard(1), REPLICATED], Shard(1)),
    "rms_norm by columns": (fusedops.rms_norm, [X, ROW], [Shard(2), Shard(0)], None),
    "rms_norm without weight": (fusedops.rms_norm, [X], [ROWS], ROWS),
    "residual": (
        lambda x, r, w: fusedops.rms_norm(x, w, residual=r),
        [X, X.cos(), ROW],
        [ROWS, ROWS, REPLICATED],
        ROWS,
    ),
    "gelu": (fusedops.gelu, [X], [Shard(2)], Shard(2)),
    "gelu with bias": (lambda x, b: fusedops.gelu(x, bias=b), [X, ROW], [ROWS, REPLICATED], ROWS),
    "gelu with bias by columns": (lambda x, b: fusedops.gelu(x, bias=b), [X, ROW], [Shard(2), Shard(0)], Shard(2)),
    "geglu": (fusedops.geglu, [X, X.sin()], [Shard(2), Shard(2)], Shard(2)),
    "geglu packed": (fusedops.geglu, [X], [ROWS], ROWS),
    "geglu packed by columns": (fusedops.geglu, [X], [Shard(2)], None),
    "sdpa by batch": (fusedops.sdpa, [Q, K, V], [ROWS] * 3, ROWS),
    "sdpa by heads": (lambda q, k, v: fusedops.sdpa(q, k, v, causal=True), [Q, K, V], [Shard(1)] * 3, Shard(1)),
    "sdpa by queries": (fusedops.sdpa, [Q, K, V], [Shard(2), REPLICATED, REPLICATED], None),
    "sdpa with three KV heads": (fusedops.sdpa, [normal(1, 6, 5, 8), *[normal(1, 3, 5, 8)] * 2], [Shard(1)] * 3, None),
    "sdpa with mask and sinks by heads": (
        lambda q, k, v, m, s: fusedops.sdpa(q, k, v, mask=m, sinks=s, window=5, softcap=2.0),
        [Q, K, V, normal(8, 6, 7), normal(8)],
        [Shard(1)] * 3 + [Shard(0), Shard(0)],
        Shard(1),
    ),
    "sdpa with shared mask and sinks by batch": (
        lambda q, k, v, m, s: fusedops.sdpa(q, k, v, mask=m, sinks=s),
        [Q, K, V, normal(6, 7), normal(8)],
        [ROWS] * 3 + [REPLICATED, REPLICATED],
        ROWS,
    ),
    "sdpa with logsumexp": (
        lambda q, k, v, m, s: fusedops.sdpa(q, k, v, mask=m, sinks=s, return_lse=True),
        [Q, K, V, normal(2, 1, 6, 7), normal(2, 8)],
        [Shard(1)] * 3 + [REPLICATED, Shard(1)],
        Shard(1),
    ),
    "sdpa_varlen": (
        lambda q, k, v, s, cq, ck: fusedops.sdpa_varlen(q, k, v, cq, ck, max_seqlen_q=4, max_seqlen_k=4, sinks=s),
        [normal(6, 4, 8), normal(6, 2, 8), normal(6, 2, 5), normal(4), OFFSETS, OFFSETS],
        [Shard(1)] * 3 + [Shard(0), REPLICATED, REPLICATED],
        Shard(1),
    ),
    "flash_attn_func": (fusedops.flash_attn_func, [x.transpose(1, 2) for x in (Q, K, V)], [Shard(2)] * 3, Shard(2)),
}


def results(function: Callable[..., Any], tensors: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Return the outputs and the gradients of a function of them."""
    leaves = [x.detach().requires_grad_(x.is_floating_point()) for x in tensors]
    outputs = function(*leaves)
    outputs = list(outputs) if isinstance(outputs, tuple) else [outputs]
    loss = sum((output * output.detach().cos()).sum() for output in outputs)
    return outputs, list(torch.autograd.grad(loss, [leaf for leaf in leaves if leaf.requires_grad]))


def check(name: str, mesh: Any) -> None:
    function, tensors, placements, expected = CASES[name]
    exact = results(function, tensors)
    sharded = [distribute_tensor(x, mesh, [place]) for x, place in zip(tensors, placements, strict=True)]
    outputs, gradients = results(function, sharded)
    for ours, whole in zip([*outputs, *gradients], [*exact[0], *exact[1]], strict=True):
        assert isinstance(ours, DTensor)
        torch.testing.assert_close(ours.full_tensor(), whole, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        result = function(*sharded)
        first = result[0] if isinstance(result, tuple) else result
        torch.testing.assert_close(first.full_tensor(), exact[0][0], rtol=1e-5, atol=1e-6)
    if expected is not None:
        assert first.placements == outputs[0].placements == (expected,)


@pytest.fixture(scope="module")
def mesh() -> Iterator[Any]:
    """A group of this process alone."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


@pytest.mark.parametrize("name", CASES)
def test_one_process(name: str, mesh: Any) -> None:
    check(name, mesh)


def test_composites_of_gradients(mesh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are no kernels of gradients, torch's own operators compute them from DTensors."""
    from fusedops.backends.torch import library

    monkeypatch.setattr(library, "_has_kernel", lambda *_: False)
    for name in ("rms_norm", "residual", "gelu with bias", "geglu", "geglu packed"):
        check(name, mesh)


def test_explain(mesh: Any) -> None:
    x = distribute_tensor(X, mesh, [ROWS])
    words = str(fusedops.explain("rms_norm", x))
    assert "DTensor placed as S(0), of which this process holds (4, 6, 8), each computing its part (cpu): cpu" in words


def test_two_processes() -> None:
    """Each holds a half of what is sharded."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    settings = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(PROCESSES)}
    ranks = [
        subprocess.Popen(
            [sys.executable, Path(__file__)],
            env={**os.environ, **settings, "RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(PROCESSES)
    ]
    try:
        errors = [process.communicate(timeout=300)[1] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    assert [process.returncode for process in ranks] == [0] * PROCESSES, "\n".join(errors)


@pytest.mark.parametrize("first", ["torch.distributed.tensor", "fusedops.backends.torch"])
def test_rules_are_registered_whichever_is_imported_first(first: str) -> None:
    """And nothing of torch.distributed is imported for it."""
    second = {"torch.distributed.tensor", "fusedops.backends.torch"} - {first}
    script = f"""
import sys, importlib, torch
before = "torch.distributed.tensor" in sys.modules, "torch.utils.flop_counter" in sys.modules
import fusedops
fusedops.gelu(torch.ones(3))
if {first!r} == "fusedops.backends.torch":
    assert before == ("torch.distributed.tensor" in sys.modules, "torch.utils.flop_counter" in sys.modules)
importlib.import_module({second.pop()!r})
import torch.utils.flop_counter
from torch.distributed.tensor import DTensor
assert torch.ops.fusedops.sdpa.default in DTensor._op_dispatcher.sharding_propagator.op_strategy_funcs
assert torch.ops.fusedops.sdpa in torch.utils.flop_counter.flop_registry
"""
    script = f"import importlib; importlib.import_module({first!r})\n{script}"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)


def main() -> None:
    """Run as one of the processes."""
    dist.init_process_group("gloo")
    whole = init_device_mesh("cpu", (PROCESSES,))
    for name in CASES:
        try:
            check(name, whole)
        except Exception as error:
            raise AssertionError(name) from error
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
