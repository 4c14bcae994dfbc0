"""Direct calls: taken on plain tensors, left to the dispatcher wherever that would do more than call the kernel."""

from __future__ import annotations

import gc
import math
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import fusedops
from fusedops.backends import torch as backend

pytestmark = pytest.mark.skipif(
    not hasattr(Tensor, "__dlpack_c_exchange_api__"), reason="this torch has no DLPack exchange API"
)

CALLS: dict[str, Callable[[Tensor], Any]] = {
    "rms_norm": lambda x: fusedops.rms_norm(x, x[0]),
    "add_rms_norm": lambda x: fusedops.rms_norm(x, residual=x),
    "gelu": lambda x: fusedops.gelu(x, bias=x[0]),
    "geglu": lambda x: fusedops.geglu(x, x, approximate="tanh"),
    "sdpa": lambda x: fusedops.sdpa(x[None, None], x[None, None], x[None, None], mask=x[:, :4], scale=2, window=3),
}


@pytest.fixture
def direct_results(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Yield a list of what direct calls return from now on: None where one was not taken."""
    results: list[Any] = []

    def recorded(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            results.append(function(*arguments))
            return results[-1]

        return call

    for name in CALLS:
        attribute = f"_{name}_directly"
        monkeypatch.setattr(backend, attribute, recorded(getattr(backend, attribute)))
    yield results


@pytest.fixture
def x() -> Tensor:
    return torch.randn(4, 8)


def by_dispatcher(call: Callable[[Tensor], Any], x: Tensor) -> Any:
    """Return the call's result computed through torch.ops.fusedops; a mode that does nothing sees to that."""

    class Nothing(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return func(*args, **(kwargs or {}))

    with Nothing():
        return call(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", CALLS)
def test_as_the_dispatcher_computes(name: str, dtype: torch.dtype, x: Tensor, direct_results: list[Any]) -> None:
    x = x.to(dtype)
    for inference in (False, True):
        with torch.inference_mode(inference):
            direct, dispatched = CALLS[name](x), by_dispatcher(CALLS[name], x)
            torch.testing.assert_close(direct, dispatched, rtol=0, atol=0)
            for one, other in zip(tensors(direct), tensors(dispatched), strict=True):
                assert one.stride() == other.stride()
                assert one.is_inference() == other.is_inference() == inference
                assert one.requires_grad == other.requires_grad
    assert [result is None for result in direct_results] == [False, True] * 2


def tensors(outputs: Any) -> tuple[Tensor, ...]:
    return outputs if isinstance(outputs, tuple) else (outputs,)


@pytest.mark.parametrize("name", CALLS)
def test_inputs_with_other_strides(name: str, x: Tensor, direct_results: list[Any]) -> None:
    """Outputs are contiguous whatever the inputs are: what has no input to be made like is the dispatcher's."""
    view = torch.randn(8, 4).t()
    torch.testing.assert_close(CALLS[name](view), CALLS[name](view.contiguous()), rtol=0, atol=0)
    for output in tensors(CALLS[name](view)):
        assert output.is_contiguous()
    odd = x[:1].as_strided((1, 8), (99, 1))
    assert fusedops.gelu(odd).stride() == by_dispatcher(fusedops.gelu, odd).stride()


def test_no_elements(direct_results: list[Any]) -> None:
    assert fusedops.gelu(torch.empty(0, 8)).shape == (0, 8)
    assert direct_results[0] is not None


def test_large_calls_are_the_dispatchers(direct_results: list[Any]) -> None:
    """They would keep the interpreter's lock for too long."""
    fusedops.gelu(torch.randn(16384))
    fusedops.gelu(torch.randn(16385))
    assert [result is None for result in direct_results] == [False, True]


def test_gradients(x: Tensor, direct_results: list[Any]) -> None:
    weight = torch.nn.Parameter(torch.rand(8))
    assert fusedops.rms_norm(x, weight).requires_grad
    assert fusedops.gelu(x.requires_grad_()).requires_grad
    with torch.no_grad():
        assert not fusedops.rms_norm(x, weight).requires_grad
    assert [result is None for result in direct_results] == [True, True, False]


def test_errors_are_the_dispatchers(x: Tensor) -> None:
    with pytest.raises(ValueError, match="weight must have shape"):
        fusedops.rms_norm(x, torch.randn(7))
    with pytest.raises(TypeError, match=r"bias must be a torch\.Tensor"):
        fusedops.gelu(x, bias=3.0)
    with pytest.raises(TypeError, match="got float64"):
        fusedops.gelu(x.double())
    with pytest.raises(TypeError, match="eps must be a number"):
        fusedops.rms_norm(x, eps="small")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="window"):
        fusedops.sdpa(x[None, None], x[None, None], x[None, None], window=(-1, 2**63 - 1))


def test_references_and_memory_are_given_back(x: Tensor, direct_results: list[Any]) -> None:
    weight = torch.rand(8)
    before = x._use_count(), weight._use_count()
    for _ in range(3):
        fusedops.rms_norm(x, weight)
    with pytest.raises(ValueError, match="weight must have shape"):
        fusedops.rms_norm(x, weight[:7])
    assert all(result is not None for result in direct_results[:3])
    direct_results.clear()
    gc.collect()  # the error's traceback
    assert (x._use_count(), weight._use_count()) == before


# --- threads whose calls something else sees


class SeenFunctions(TorchFunctionMode):
    """Lists what is called."""

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__()
        self.functions: list[Any] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note the function and call it."""
        self.functions.append(func)
        return func(*args, **(kwargs or {}))


def test_function_modes(x: Tensor) -> None:
    """They see the public function, and nothing of what it does, as of torch's own."""
    with SeenFunctions() as seen:
        fusedops.gelu(x)
        torch.nn.functional.rms_norm(x, (8,))
    assert seen.functions == [fusedops.gelu, torch.nn.functional.rms_norm]


def test_fake_tensors(x: Tensor) -> None:
    from torch._subclasses import FakeTensor, FakeTensorMode

    with FakeTensorMode() as mode:
        assert isinstance(fusedops.gelu(mode.from_tensor(x)), FakeTensor)
    assert isinstance(fusedops.gelu(mode.from_tensor(x)), FakeTensor)


def test_profiler(x: Tensor) -> None:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        fusedops.gelu(x)
    assert "fusedops::gelu_inference" in [event.name for event in profile.events()]


def test_jit_trace(x: Tensor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(fusedops.gelu, x)
    other = torch.randn(4, 8)
    torch.testing.assert_close(traced(other), fusedops.gelu(other), rtol=0, atol=0)


def test_make_fx(x: Tensor) -> None:
    from torch.fx.experimental.proxy_tensor import make_fx

    graph = make_fx(CALLS["geglu"])(x).graph
    assert [str(node.target) for node in graph.nodes if node.op == "call_function"] == [
        "fusedops.geglu_inference.default"
    ]


def test_forward_mode(x: Tensor) -> None:
    from torch.autograd import forward_ad

    with forward_ad.dual_level():
        primal, tangent = forward_ad.unpack_dual(fusedops.gelu(forward_ad.make_dual(x, torch.ones_like(x))))
    torch.testing.assert_close(primal, fusedops.gelu(x))
    assert tangent is not None


@pytest.mark.parametrize(
    "mode",
    [
        torch.autocast("cpu", dtype=torch.bfloat16),
        torch.autocast("cpu", dtype=torch.float16),
    ],
    ids=["bfloat16", "float16"],
)
def test_autocast(mode: AbstractContextManager[Any], x: Tensor) -> None:
    q = x[None, None]
    with mode:
        dtype = torch.get_autocast_dtype("cpu")
        assert fusedops.sdpa(q, q, q).dtype == dtype
    assert fusedops.sdpa(q, q, q).dtype == torch.float32


@pytest.mark.parametrize("transform", ["vmap", "grad"])
def test_transforms(transform: str, x: Tensor, direct_results: list[Any]) -> None:
    functions: dict[str, Callable[[Tensor], Tensor]] = {
        "vmap": torch.vmap(fusedops.gelu),
        "grad": torch.func.grad(lambda x: fusedops.gelu(x).sum()),
    }
    result = functions[transform](x)
    assert result.shape == x.shape
    assert direct_results == [None]


def test_modes_of_one_thread_are_not_another_threads(x: Tensor, direct_results: list[Any]) -> None:
    with SeenFunctions():
        thread = threading.Thread(target=fusedops.gelu, args=(x,))
        thread.start()
        thread.join()
    assert direct_results[0] is not None


def test_compiled(x: Tensor, direct_results: list[Any]) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: CALLS["sdpa"](CALLS["geglu"](x)), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), CALLS["sdpa"](CALLS["geglu"](x)))


# --- tensors that are not what their memory holds


def test_subclasses(x: Tensor, direct_results: list[Any]) -> None:
    seen = []

    class Seeing(Tensor):
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen.append(func)
            return super().__torch_function__(func, types, args, kwargs or {})

    assert type(fusedops.geglu(x, x.as_subclass(Seeing))) is Seeing
    assert seen == [fusedops.geglu]
    assert direct_results == [None]


def test_negated(x: Tensor, direct_results: list[Any]) -> None:
    torch.testing.assert_close(fusedops.gelu(torch._neg_view(x)), fusedops.gelu(-x), rtol=0, atol=0)
    assert [result is None for result in direct_results] == [True, False]


def test_lazily_cloned(x: Tensor, direct_results: list[Any]) -> None:
    clone = torch._lazy_clone(x)
    fusedops.gelu(clone)
    assert direct_results == [None]
    assert torch._C._is_cow_tensor(clone)


@pytest.mark.parametrize("make", [torch._efficientzerotensor, torch.Tensor.to_mkldnn, torch.Tensor.to_sparse])
def test_without_memory_of_their_own(make: Callable[..., Tensor], x: Tensor, direct_results: list[Any]) -> None:
    tensor = make(x.shape) if make is torch._efficientzerotensor else make(x)
    try:
        fusedops.gelu(tensor)
    except Exception as error:  # torch says that there is no such operator for them
        assert not isinstance(error, SystemError)
    assert direct_results == [None]


def test_meta(x: Tensor, direct_results: list[Any]) -> None:
    assert fusedops.gelu(x.to("meta")).device.type == "meta"
    assert direct_results == [None]


def test_deterministic_fill(x: Tensor, direct_results: list[Any]) -> None:
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.utils.deterministic.fill_uninitialized_memory
        assert not math.isnan(fusedops.gelu(x).sum())
    finally:
        torch.use_deterministic_algorithms(False)
    assert direct_results[0] is not None
