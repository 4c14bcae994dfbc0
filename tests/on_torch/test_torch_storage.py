"""Storages that do not hold their tensors' elements, and memory at odd addresses.

FSDP frees parameters by resizing their storages (https://github.com/pytorch/pytorch/issues/195862). In processes of
their own, which a kernel that reads such memory would end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch
import torch_problems

import fusedops

PREAMBLE = """
import itertools
import pytest
import torch
import torch_problems
from torch import Tensor
import fusedops

ops = torch.ops.fusedops
R = torch.randn

def without_memory(tensor, bytes_left=0):
    tensor = tensor.detach().clone()
    tensor.untyped_storage().resize_(bytes_left)
    return tensor

def each_without_memory(arguments):
    '''The arguments with one tensor after the other without its memory, or without its last byte.'''
    for index, argument in enumerate(arguments):
        if isinstance(argument, Tensor) and argument.numel() > 0:
            for left in (0, argument.numel() * argument.element_size() - 1):
                yield (*arguments[:index], without_memory(argument, left), *arguments[index + 1 :])

def refused(function, arguments):
    count = 0
    for freed in each_without_memory(arguments):
        with pytest.raises(RuntimeError, match="it was freed or made smaller"):
            function(*freed)
        count += 1
    return count
"""


def run_script(script: str) -> None:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    }
    command = [sys.executable, "-c", PREAMBLE + textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_argument_of_every_operator() -> None:
    run_script(
        """
        count = 0
        for problem in torch_problems.all_problems():
            problem = problem.to(torch.float32)
            for suffix in ("", "_inference"):
                count += refused(getattr(ops, problem.operator.name + suffix), problem.arguments)
        assert count > 200
        """
    )


def test_every_argument_of_every_backward_kernel() -> None:
    run_script(
        """
        x, column = R(4, 8), R(4)
        assert refused(ops.rms_norm_backward, (x, R(4, 8), column, R(4, 8), R(8), 1e-6, 0.0)) == 10
        assert refused(ops.gelu_backward, (x, R(4, 8), R(8), 0)) == 6
        assert refused(ops.geglu_backward, (x, R(4, 8), R(4, 8), 0, True)) == 6
        """
    )


NAMED = """
    x: fusedops.rms_norm(without_memory(x), x[0])
    weight: fusedops.rms_norm(x, without_memory(x[0]))
    residual: fusedops.rms_norm(x, residual=without_memory(x))
    x: fusedops.gelu(without_memory(x))
    bias: fusedops.gelu(x, bias=without_memory(x[0]))
    gate: fusedops.geglu(without_memory(x))
    up: fusedops.geglu(x, without_memory(x))
    q: fusedops.sdpa(without_memory(q), q, q)
    k: fusedops.sdpa(q, without_memory(q), q)
    v: fusedops.sdpa(q, q, without_memory(q))
    mask: fusedops.sdpa(q, q, q, mask=without_memory(q[..., :2]))
    sinks: fusedops.sdpa(q, q, q, sinks=without_memory(q[0, 0, 0, :1]))
    q: fusedops.sdpa_varlen(without_memory(p), p, p, c, c, **longest)
    k: fusedops.sdpa_varlen(p, without_memory(p), p, c, c, **longest)
    v: fusedops.sdpa_varlen(p, p, without_memory(p), c, c, **longest)
    cu_seqlens_q: fusedops.sdpa_varlen(p, p, p, without_memory(c), c, **longest)
    cu_seqlens_k: fusedops.sdpa_varlen(p, p, p, c, without_memory(c), **longest)
    sinks: fusedops.sdpa_varlen(p, p, p, c, c, sinks=without_memory(x[0, :1]), **longest)
"""


@pytest.mark.parametrize("gradients", [False, True])
def test_the_argument_is_named(gradients: bool) -> None:
    run_script(
        f"""
        x, q, p, c = R(2, 8), R(1, 1, 2, 8), R(2, 1, 8), torch.tensor([0, 2], dtype=torch.int32)
        x, q, p = (tensor.requires_grad_({gradients}) for tensor in (x, q, p))
        longest = dict(max_seqlen_q=2, max_seqlen_k=2)
        for line in {NAMED!r}.strip().splitlines():
            name, call = line.strip().split(": ", 1)
            print(call, flush=True)
            with pytest.raises(ValueError, match=f"^{{name}} must have memory for all its elements, got a tensor"):
                eval(call)
        """
    )


def test_explain() -> None:
    run_script(
        """
        x, weight = R(2, 8), R(8)
        weight.untyped_storage().resize_(0)
        with pytest.raises(ValueError, match="weight must have memory for all its elements, got a tensor whose"):
            fusedops.explain("rms_norm", x, weight)
        """
    )


def test_what_backward_needs() -> None:
    run_script(
        """
        operators = [
            lambda x: fusedops.rms_norm(x, x[0].detach()),
            fusedops.gelu,
            fusedops.geglu,
            lambda x: fusedops.sdpa(*[x[None, None]] * 3),
        ]
        for operator in operators:
            x = R(2, 8).requires_grad_()
            y = operator(x)
            x.untyped_storage().resize_(0)
            with pytest.raises(RuntimeError):
                y.sum().backward()
        """
    )


def test_composites() -> None:
    """By forward-mode AD, second derivatives, and what backward passes have saved."""
    run_script(
        """
        def freed(tensor):
            tensor.data.untyped_storage().resize_(0)
            return tensor

        def backward_without(saved, output, **options):
            freed(saved)
            with pytest.raises(RuntimeError, match="memory|storage"):
                output.sum().backward(**options)

        q, sinks = R(1, 2, 4, 8).requires_grad_(), R(2).requires_grad_()
        backward_without(sinks, fusedops.sdpa(q, q, q, sinks=sinks))
        packed, ends = R(4, 2, 8).requires_grad_(), torch.tensor([0, 4], dtype=torch.int32)
        lengths = {"max_seqlen_q": 4, "max_seqlen_k": 4}
        backward_without(ends, fusedops.sdpa_varlen(packed, packed, packed, ends, ends.clone(), **lengths))
        for operator in (fusedops.rms_norm, fusedops.gelu, fusedops.geglu):
            x = R(2, 8).requires_grad_()
            backward_without(x, operator(x), create_graph=True)

        x, eight, one = R(2, 8), without_memory(R(8)), without_memory(R(1))
        for function in (
            lambda a: fusedops.rms_norm(a, eight),
            lambda a: fusedops.gelu(a, bias=eight),
            lambda a: fusedops.sdpa(*[a[None, None]] * 3, sinks=one),
        ):
            with pytest.raises((RuntimeError, ValueError), match="memory"):
                torch.func.jvp(function, (x,), (x,))
        """
    )


def test_empty_tensors_need_no_memory() -> None:
    x = torch.randn(0, 8)
    x.untyped_storage().resize_(0)
    assert fusedops.rms_norm(x).shape == fusedops.gelu(x).shape == (0, 8)
    x = torch.randn(2, 8)[:, :0]
    assert fusedops.rms_norm(x.requires_grad_(), x[0]).shape == (2, 0)


def test_tensors_that_have_no_memory_by_nature() -> None:
    x = torch.randn(2, 8, device="meta")
    assert fusedops.rms_norm(x, x[0]).shape == (2, 8)
    with torch._subclasses.FakeTensorMode() as mode:
        fake = mode.from_tensor(torch.randn(2, 8))
        assert fusedops.gelu(fake).shape == (2, 8)
        with pytest.raises(ValueError, match="bias must have shape"):
            fusedops.gelu(fake, bias=fake[0, :3])


@pytest.mark.parametrize("problem", torch_problems.all_problems()[::3], ids=str)
@pytest.mark.parametrize("strided", [False, True])
def test_memory_at_odd_addresses(problem: torch_problems.Problem, strided: bool) -> None:
    problem = problem.to(torch.float32)
    if strided:
        problem = problem.non_contiguous()

    def unaligned(argument: object) -> object:
        if not isinstance(argument, torch.Tensor) or argument.numel() == 0:
            return argument
        last = sum((extent - 1) * stride for extent, stride in zip(argument.shape, argument.stride(), strict=True))
        span = argument.as_strided((last + 1,), (1,))
        memory = bytearray(b"?" + span.view(torch.uint8).numpy().tobytes())
        moved = torch.frombuffer(memory, dtype=argument.dtype, offset=1)
        return moved.as_strided(argument.shape, argument.stride())

    arguments = [unaligned(argument) for argument in problem.arguments]
    assert any(isinstance(each, torch.Tensor) and each.data_ptr() % 2 for each in arguments)
    for name in (problem.operator.name, f"{problem.operator.name}_inference"):
        function = getattr(torch.ops.fusedops, name)
        torch.testing.assert_close(function(*arguments), function(*problem.arguments), rtol=0, atol=0)
