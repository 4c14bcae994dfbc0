"""PyTorch: operators in torch.ops.fusedops, with CPU and MPS kernels in the native module and composites elsewhere.

Importing this package registers them, with all that autograd, torch.compile, torch.export, torch.func and
torch.autocast want to know. The functions here call the inference variants where nobody can ask for a derivative, and
their kernels directly where nothing else is to be done.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.compiler import is_dynamo_compiling
from torch.overrides import has_torch_function_variadic as is_overridden

from fusedops import _core
from fusedops.backends import Execution
from fusedops.backends.plans import ArrayLayout

from . import direct, library, operators
from .library import describe
from .modes import differentiable, inference_suffices
from .operators.gelu import FORMS
from .tensors import has_values, in_public_terms, is_fake, kind, missing_memory, override, refusal

__all__ = [
    "ARRAY_TYPE",
    "ARRAY_TYPE_NAME",
    "describe",
    "device",
    "execution",
    "geglu",
    "gelu",
    "gradients",
    "in_public_terms",
    "is_overridden",
    "is_tracing",
    "kind",
    "known_integers",
    "layout",
    "missing_memory",
    "override",
    "refusal",
    "rms_norm",
    "sdpa",
    "sdpa_varlen",
]

ARRAY_TYPE = Tensor
ARRAY_TYPE_NAME = "torch.Tensor"

library.register(operators.ALL)

_rms_norm_inference = torch.ops.fusedops.rms_norm_inference.default
_add_rms_norm_inference = torch.ops.fusedops.add_rms_norm_inference.default
_gelu_inference = torch.ops.fusedops.gelu_inference.default
_geglu_inference = torch.ops.fusedops.geglu_inference.default
_sdpa_inference = torch.ops.fusedops.sdpa_inference.default
_sdpa_varlen_inference = torch.ops.fusedops.sdpa_varlen_inference.default

_rms_norm_directly = direct.function(operators.rms_norm.OPERATOR)
_add_rms_norm_directly = direct.function(operators.add_rms_norm.OPERATOR)
_gelu_directly = direct.function(operators.gelu.OPERATOR)
_geglu_directly = direct.function(operators.geglu.OPERATOR)
_sdpa_directly = direct.function(operators.sdpa.OPERATOR)

_FORM_CODES = {form: code for code, form in enumerate(FORMS)}


def layout(tensor: Tensor) -> ArrayLayout:
    """Return how the tensor lies in memory, its storage beginning at an aligned address."""
    if problem := refusal(tensor):
        raise TypeError(problem)
    dtype, shape = describe(tensor)
    return ArrayLayout(dtype, shape, tensor.stride(), int(tensor.storage_offset()) * tensor.element_size())


def execution(tensor: Tensor) -> Execution:
    """Return how operators on the tensor's device run."""
    kind = tensor.device.type
    if is_fake(tensor):
        return Execution("none", "a tensor without values: nothing but shapes is computed")
    if kind == "cpu":
        return Execution("cpu", f"fused C++ kernels ({_core.instruction_set()}, {torch.get_num_threads()} threads)")
    if kind == "mps":
        return Execution("metal", "fused Metal kernels on torch's MPS stream")
    return Execution("composite", f"torch's own operations, because there are no fused kernels for torch on {kind}")


def device(tensor: Tensor) -> str:
    """Return where the tensor lives, such as "cpu" or "cuda:0"."""
    return str(tensor.device)


def gradients(operator: str, tensor: Tensor) -> str:
    """Return what computes an operator's gradients on the tensor's device."""
    backward = getattr(operators, operator).OPERATOR.fused_backward
    return "kernels" if backward.has_kernel(tensor.device.type) else "composite"


def is_tracing(*arguments: Any) -> bool:
    """Return whether torch.compile is at work, or there are symbols in the place of numbers."""
    return torch.compiler.is_compiling() or any(map(library.is_symbolic, arguments))


def known_integers(tensor: Tensor) -> list[int] | None:
    """Return the values of a tensor of integers that is in the CPU's memory, and no transform's or tracer's."""
    if not has_values(tensor):
        return None
    values: list[int] = tensor.tolist()
    return values


def rms_norm(x: Tensor, weight: Tensor | None, residual: Tensor | None, eps: float, weight_offset: float) -> Any:
    """See fusedops.rms_norm."""
    if residual is not None:
        return _rms_norm_of_sum(x, residual, weight, eps, weight_offset)
    if not is_dynamo_compiling() and (y := _rms_norm_directly(x, weight, eps, weight_offset)) is not None:
        return y
    if inference_suffices(x, weight):
        return _rms_norm_inference(x, weight, eps, weight_offset)
    y, _ = differentiable(operators.rms_norm.OPERATOR, x, weight, eps, weight_offset)
    return y


def _rms_norm_of_sum(x: Tensor, residual: Tensor, weight: Tensor | None, eps: float, weight_offset: float) -> Any:
    if not is_dynamo_compiling():
        outputs = _add_rms_norm_directly(x, residual, weight, eps, weight_offset)
        if outputs is not None:
            return outputs
    if inference_suffices(x, residual, weight):
        return _add_rms_norm_inference(x, residual, weight, eps, weight_offset)
    y, total, _ = differentiable(operators.add_rms_norm.OPERATOR, x, residual, weight, eps, weight_offset)
    return y, total


def gelu(x: Tensor, bias: Tensor | None, approximate: str) -> Any:
    """See fusedops.gelu."""
    form = _FORM_CODES[approximate]
    if not is_dynamo_compiling() and (y := _gelu_directly(x, bias, form)) is not None:
        return y
    if inference_suffices(x, bias):
        return _gelu_inference(x, bias, form)
    return differentiable(operators.gelu.OPERATOR, x, bias, form)


def geglu(gate: Tensor, up: Tensor | None, approximate: str, gate_first: bool) -> Any:
    """See fusedops.geglu."""
    form = _FORM_CODES[approximate]
    # A packed gate is not like the output, which a direct call needs one of its inputs to be.
    if up is not None and not is_dynamo_compiling() and (y := _geglu_directly(gate, up, form, gate_first)) is not None:
        return y
    if inference_suffices(gate, up):
        return _geglu_inference(gate, up, form, gate_first)
    return differentiable(operators.geglu.OPERATOR, gate, up, form, gate_first)


def sdpa(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    sinks: Tensor | None,
    causal: int,
    scale: float | None,
    window_left: int | None,
    window_right: int | None,
    softcap: float | None,
    deterministic: bool,
    return_lse: bool,
) -> Any:
    """See fusedops.sdpa."""
    arguments = (q, k, v, mask, sinks, causal, scale, window_left, window_right, softcap, deterministic)
    if not return_lse:
        if not is_dynamo_compiling() and (out := _sdpa_directly(*arguments)) is not None:
            return out
        if inference_suffices(q, k, v, mask, sinks):
            return _sdpa_inference(*arguments)
    out, logsumexp = differentiable(operators.sdpa.OPERATOR, *arguments)
    return (out, logsumexp) if return_lse else out


def sdpa_varlen(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    sinks: Tensor | None,
    max_seqlen_q: int,
    max_seqlen_k: int,
    causal: int,
    scale: float | None,
    window_left: int | None,
    window_right: int | None,
    softcap: float | None,
    deterministic: bool,
    return_lse: bool,
) -> Any:
    """See fusedops.sdpa_varlen."""
    options = (max_seqlen_q, max_seqlen_k, causal, scale, window_left, window_right, softcap, deterministic)
    arguments = (q, k, v, cu_seqlens_q, cu_seqlens_k, sinks, *options)
    if not return_lse and inference_suffices(q, k, v, sinks):
        return _sdpa_varlen_inference(*arguments)
    out, logsumexp = differentiable(operators.sdpa_varlen.OPERATOR, *arguments)
    return (out, logsumexp) if return_lse else out
