"""PyTorch's MPS encoder, through the double; test_torch_mps.py runs this in processes of its own."""

from __future__ import annotations

import contextlib
import ctypes
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch_problems
from torch import Tensor
from torch_problems import Problem

import fusedops
from doubles import torch_mps
from doubles.torch_mps import Double
from fusedops import sim

ops = torch.ops.fusedops


def packed(x: Tensor) -> Any:
    """Return sdpa_varlen of two sequences, the first of them of one query."""
    x = x[:, None]
    cu_seqlens = torch.tensor([0, min(1, len(x)), len(x)], dtype=torch.int32, device=x.device)
    longest = {"max_seqlen_q": len(x), "max_seqlen_k": len(x)}
    return fusedops.sdpa_varlen(x, x, x, cu_seqlens, cu_seqlens, return_lse=True, **longest)


CALLS: dict[str, Callable[..., Any]] = {
    "rms_norm": lambda x: fusedops.rms_norm(x, x[0], weight_offset=1.0),
    "add_rms_norm": lambda x: fusedops.rms_norm(x, x[0], residual=x * 0.5),
    "gelu": lambda x: fusedops.gelu(x, bias=x[0]),
    "geglu": lambda x: fusedops.geglu(x, x * 0.5, approximate="tanh"),
    "sdpa_varlen": lambda x: packed(x)[0],
    "sdpa": lambda x: fusedops.sdpa(x[None, None], x[None, None], x[None, None], causal=True, return_lse=True),
}
on_every_operator = pytest.mark.parametrize("name", CALLS)


@contextlib.contextmanager
def launches(double: Double) -> Iterator[list[str]]:
    """Give a list that holds the kernels launched meanwhile once the block ends."""
    kernels: list[str] = []
    before = len(double.dispatched)
    yield kernels
    kernels += double.dispatched[before:]


def as_tuple(outputs: Any) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


def by_composite(problem: Problem) -> tuple[Tensor, ...]:
    return as_tuple(problem.operator.checked_composite(*problem.arguments))


@on_every_operator
def test_every_operator_launches_kernels(name: str, double: Double) -> None:
    with launches(double) as kernels:
        CALLS[name](torch.randn(3, 16))
    assert kernels and all(kernel.startswith(name.removeprefix("add_").removesuffix("_varlen")) for kernel in kernels)


@pytest.mark.parametrize("problem", torch_problems.all_problems()[::2], ids=str)
def test_operators_agree_with_composites(problem: Problem, double: Double) -> None:
    """Both variants, with storage offsets and strides."""
    problem = problem.to(torch.float32).non_contiguous()
    expected = by_composite(problem)
    with launches(double) as kernels:
        both = as_tuple(getattr(ops, problem.operator.name)(*problem.arguments))
        inference = as_tuple(getattr(ops, f"{problem.operator.name}_inference")(*problem.arguments))
    assert len(kernels) >= 2
    torch.testing.assert_close(both, expected)
    torch.testing.assert_close(inference, both[: len(inference)], rtol=0, atol=0)


@pytest.mark.parametrize("offset", [0, 1, 2, 3, 4])
def test_storage_offsets(offset: int) -> None:
    """Vectors are wide only where the tensor begins at a multiple of their size."""
    x = torch.randn(5 * 64 + offset)[offset:].view(5, 64)
    for call in CALLS.values():
        torch.testing.assert_close(call(x), call(x.clone()))


@on_every_operator
def test_empty_outputs_launch_nothing(name: str, double: Double) -> None:
    x = torch.randn(3, 16)
    empty = {
        "rms_norm": lambda: fusedops.rms_norm(x[:0], x[0]),
        "add_rms_norm": lambda: fusedops.rms_norm(x[:, :0], residual=x[:, :0])[0],
        "gelu": lambda: fusedops.gelu(x[:0]),
        "geglu": lambda: fusedops.geglu(x[:, :0]),
        "sdpa": lambda: fusedops.sdpa(x[None, None, :0], x[None, None], x[None, None]),
        "sdpa_varlen": lambda: packed(x[:0])[0],
    }
    with launches(double) as kernels:
        assert empty[name]().numel() == 0
    assert kernels == []


def test_no_keys() -> None:
    """Buffers of inputs may be empty where the outputs are not."""
    x = torch.randn(1, 1, 3, 16)
    out, logsumexp = fusedops.sdpa(x, x[:, :, :0], x[:, :, :0], return_lse=True)
    assert (out == 0).all() and logsumexp.isneginf().all()


def test_eight_threads_at_once() -> None:
    """The first time that these kernels are looked up, too: nothing else here is in float16."""
    x = torch.randn(4, 32).half()
    expected = [by_composite(problem) for problem in threads_problems(x)]
    failures: list[Any] = []
    start = threading.Barrier(8)

    def work(first: int) -> None:
        try:
            start.wait()
            for _ in range(3):
                problems = threads_problems(x)
                for i in range(len(problems)):
                    problem, exact = problems[(first + i) % len(problems)], expected[(first + i) % len(problems)]
                    actual = as_tuple(getattr(ops, problem.operator.name)(*problem.arguments))
                    torch.testing.assert_close(actual, exact, rtol=2e-3, atol=2e-3)
        except Exception as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def threads_problems(x: Tensor) -> list[Problem]:
    rows = x[None, None]
    operators = {problem.operator.name: problem.operator for problem in torch_problems.all_problems()}
    options = (None, None, 1, None, None, None, None, False)
    return [
        Problem("", operators["rms_norm"], (x, x[0], 1e-6, 0.0)),
        Problem("", operators["gelu"], (x, None, 0)),
        Problem("", operators["geglu"], (x, None, 0, True)),
        Problem("", operators["sdpa"], (rows, rows, rows, *options)),
    ]


def test_tensors_on_two_devices() -> None:
    """Reached only by calling the kernel past the checks of the public function."""
    key = torch._C.DispatchKeySet(torch._C.DispatchKey.CPU)
    gate = torch.randn(3, 16)
    with pytest.raises(Exception, match="all tensors must be on one device"):  # of a type that depends on torch
        ops.geglu_inference.default.redispatch(key, gate, gate.to("meta"), 0, True)


def test_failure_while_encoding_is_an_error_and_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command block throws comes out of the call, with its message, and the next call works."""
    x = torch.randn(3, 16)
    expected = fusedops.gelu(x)

    def fail(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("this dispatch fails")

    monkeypatch.setattr(sim.Library, "run", fail)
    with pytest.raises(RuntimeError, match="dispatch_array_with_group_size failed: this dispatch fails"):
        fusedops.gelu(x)
    monkeypatch.undo()
    torch.testing.assert_close(fusedops.gelu(x), expected, rtol=0, atol=0)


def test_failure_while_compiling_is_an_error_and_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(3, 16).bfloat16()  # nothing else here is in bfloat16

    def fail(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("this text does not compile")

    monkeypatch.setattr(torch_mps.sim, "build", fail)
    with pytest.raises(RuntimeError, match="create_shader_library failed: this text does not compile"):
        fusedops.rms_norm(x)
    monkeypatch.undo()
    torch.testing.assert_close(fusedops.rms_norm(x), torch.nn.functional.rms_norm(x, (16,), eps=1e-6))


def test_the_double_keeps_the_rules() -> None:
    double = Double()
    handle = (ctypes.c_void_p * 1)()
    with pytest.raises(UnicodeDecodeError):
        double.create_shader_library("// \u00b5".encode(), handle)
    double.create_shader_library(b"kernel void one(device float* x [[buffer(0)]]) { x[0] = 1.0f; }", handle)
    with pytest.raises(RuntimeError, match="Failed to create function state object for: two"):
        double.get_kernel_function(handle[0], b"two", handle)
    double.get_kernel_function(handle[0], b"one", handle)
    kernel = handle[0]

    def dispatch(threads: int, per_threadgroup: int) -> None:
        double.dispatch(kernel, (threads, 1), 2, (per_threadgroup, 1), 2)

    with pytest.raises(RuntimeError, match="outside of a command block"):
        double.start_encoding(kernel)
    with double.command_block():
        with pytest.raises(RuntimeError, match="waits for itself"), double.command_block():
            pass
        with pytest.raises(RuntimeError, match="has begun encoding"):
            dispatch(32, 32)
        double.start_encoding(kernel)
        with pytest.raises(sim.SimulatorError, match="not bound"):
            dispatch(32, 32)
        for size in (0, 4097):
            with pytest.raises(RuntimeError, match="size must be in"):
                double.set_arg_bytes(kernel, 0, ctypes.addressof(handle), size)
        for threads, per_threadgroup, message in [(2048, 2048, "exceeds 1024"), (33, 32, "whole"), (0, 32, "whole")]:
            with pytest.raises(RuntimeError, match=message):
                dispatch(threads, per_threadgroup)
    assert double.dispatched == []


def test_no_way_to_pass_parameters() -> None:
    """Run where the double has none."""
    with pytest.raises(RuntimeError, match=r'cannot pass parameters.*pip install --upgrade "torch>=2\.14"'):
        fusedops.rms_norm(torch.randn(3, 16))


@pytest.mark.parametrize("name", ["gelu", "sdpa"])
def test_threadgroups_that_a_gpu_cannot_run_are_refused(double: Double, name: str) -> None:
    x = torch.randn(5, 16)
    expected = CALLS[name](x)
    double.max_threads_per_threadgroup = 1
    try:
        with (
            launches(double) as launched,
            pytest.raises(RuntimeError, match=r"threads in a threadgroup, of which .* 1"),
        ):
            CALLS[name](x)
    finally:
        double.max_threads_per_threadgroup = torch_mps.MAX_THREADS_PER_THREADGROUP
    assert not launched
    for again, before in zip(as_tuple(CALLS[name](x)), as_tuple(expected), strict=True):
        torch.testing.assert_close(again, before)
