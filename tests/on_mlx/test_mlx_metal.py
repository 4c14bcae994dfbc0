"""How MLX's Metal path encodes launches, seen by a double of MLX's Metal device.

What comes out of it is tested in the other files here, by the tests marked `metal`.
"""

from __future__ import annotations

import threading

import mlx.core as mx
import pytest
from mlx_cases import normal
from mlx_reference import assert_as_good_as, exact, naive

from doubles import mlx_metal
from fusedops import _mlx

pytestmark = pytest.mark.metal(only=True)

CALLS = {
    "rms_norm": lambda: (normal(3, 40), normal(40), normal(3, 40), 1e-6, 0.0),
    "gelu": lambda: (normal(3, 40), normal(40), "tanh"),
    "geglu": lambda: (normal(3, 40), None, "none", True),
    "sdpa": lambda: (*(normal(1, 1, rows, 8) for rows in (1, 1100, 1100)), None, None, 0, *[None] * 4, False, True),
}
TWO_LAUNCHES = "sdpa"  # of these calls the one that has two, with scratch memory between them


@pytest.fixture(autouse=True)
def launched(monkeypatch):
    """The names of the kernels that have run."""
    monkeypatch.setattr(mlx_metal, "launched", [])
    return mlx_metal.launched


def outputs_of(module, name, arguments):
    results = getattr(module, name)(*arguments)
    mx.eval(results)
    return list(results) if isinstance(results, tuple) else [results]


def assert_right(results, name, arguments):
    ordinary = [x.astype(r.dtype) for x, r in zip(naive(name, *arguments), results, strict=True)]
    assert_as_good_as(results, ordinary, exact(name, *arguments))


def check(name, arguments, module=_mlx):
    assert_right(outputs_of(module, name, arguments), name, arguments)


@pytest.mark.parametrize("name", CALLS)
def test_kernels_run(name, launched):
    arguments = CALLS[name]()
    check(name, arguments)
    assert launched
    assert all(kernel.startswith(name) for kernel in launched)
    if name == TWO_LAUNCHES:
        assert len(launched) == 2


@pytest.mark.parametrize("name", CALLS)
def test_nothing_runs_for_empty_results(name, launched):
    arguments = (x[:0] if isinstance(x, mx.array) and x.ndim > 1 else x for x in CALLS[name]())
    mx.eval(getattr(_mlx, name)(*arguments))
    assert not launched


def test_any_offset_and_step():
    """Arrays start anywhere in their buffer, and run backwards."""
    memory = normal(2000).astype(mx.float16)
    for start in (0, 1, 3, 8):
        x = memory[start : start + 320].reshape(8, 40)
        check("gelu", (x, memory[start : start + 40], "none"))
        check("rms_norm", (x[::-1], memory[start + 50 : start + 10 : -1], x[:, ::-1], 1e-6, 0.0))
        q = x[None, None, :, ::-1]
        check("sdpa", (q, q[:, :, ::-1], q, None, None, 1, None, None, None, None, False, True))


@pytest.mark.parametrize("longest", [1, 40])  # the decode kernel and the prefill kernel
@pytest.mark.parametrize("has_sinks", [False, True])
def test_packed_sequences(launched, longest, has_sinks):
    """Where offsets are right, and where they turn out wrong as they are evaluated."""
    q, k, v = normal(1 + longest, 4, 16), normal(60, 2, 16), normal(60, 2, 24)
    cu_seqlens = mx.array([0, 1, 1 + longest]), mx.array([0, 20, 60])
    options = (normal(4) if has_sinks else None, longest, 50, 1, None, None, None, None, False, True)
    results = outputs_of(_mlx, "sdpa_varlen", (q, k, v, *cu_seqlens, *options))
    assert launched and all(kernel.startswith("sdpa_") for kernel in launched)
    expected = _mlx.sdpa_varlen_composite(q, k, v, *cu_seqlens, *options)
    assert all(mx.allclose(*pair, atol=1e-5) for pair in zip(results, expected, strict=True))
    wrong = outputs_of(_mlx, "sdpa_varlen", (q, k, v, cu_seqlens[0], cu_seqlens[1] + 1, *options))
    assert all(mx.isnan(result).all() for result in wrong)


def test_eight_threads(launched):
    calls = {name: arguments() for name, arguments in CALLS.items()}
    mx.eval(*calls.values())
    results, failures = {}, []

    def work(index):
        try:
            with mx.stream(mx.new_stream(mx.cpu)):
                for name, arguments in calls.items():
                    results[index, name] = outputs_of(_mlx, name, arguments)
        except Exception as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(results) == len(threads) * len(calls)
    assert len(launched) == len(threads) * (len(calls) + 1)
    for (_, name), outputs in results.items():
        assert_right(outputs, name, calls[name])


def test_threadgroups_that_a_gpu_cannot_run_are_refused(monkeypatch):
    compile_kernel = mlx_metal.compile_kernel
    monkeypatch.setattr(mlx_metal, "compile_kernel", lambda *arguments: compile_kernel(*arguments) // 1024)
    y = _mlx.gelu(normal(4), None, "none")
    with pytest.raises(RuntimeError, match=r"gelu.* threads in a threadgroup, of which this GPU can run 1"):
        mx.eval(y)
    monkeypatch.undo()
    check("gelu", CALLS["gelu"]())


def test_compiler_errors_reach_the_caller(monkeypatch):
    def fail(name, text):
        raise RuntimeError(f"no compiler for {name}")

    monkeypatch.setattr(mlx_metal, "compile_kernel", fail)
    y = _mlx.gelu(normal(4), None, "none")
    with pytest.raises(RuntimeError, match="no compiler for gelu_float"):
        mx.eval(y)


# What stands in csrc/mlx/metal.cpp, a mistake to put in its place, and what the double says.
MISTAKES = {
    "scratch is freed": ("encoder.add_temporary(array);", "", "uses an array that nothing keeps"),
    "scratch is registered as an input": (
        "encoder.set_output_array(role == BufferRole::output ? outputs[index] : scratch[index], slot);",
        "if (role == BufferRole::output) encoder.set_output_array(outputs[index], slot);"
        "else encoder.set_input_array(scratch[index], slot);",
        "writes to an array that was registered as an input",
    ),
    "outputs are mixed up": ("? outputs[index] :", "? outputs[outputs.size() - 1 - index] :", "off by|outside"),
    "arrays are bound one slot too far": ("int slot = 0;", "int slot = 1;", r"buffer\(0\)"),
    "parameters are bound one slot too far": ("parameters.size()), slot);", "parameters.size()), slot + 1);", "bound"),
    "a library for all dtypes": ('"fusedops_" + name', '"fusedops_" + launch.kernel', "two different libraries"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_double_notices(mistake):
    right, wrong, message = MISTAKES[mistake]
    text = (mlx_metal.ROOT / "csrc/mlx/metal.cpp").read_text()
    assert text.count(right) == 1
    module = mlx_metal.load(mlx_metal.build({"metal.cpp": text.replace(right, wrong)}))
    with pytest.raises((AssertionError, RuntimeError), match=message):
        for dtype in (mx.float32, mx.float16):
            arguments = CALLS[TWO_LAUNCHES]()
            check(TWO_LAUNCHES, [x.astype(dtype) if isinstance(x, mx.array) else x for x in arguments], module)
