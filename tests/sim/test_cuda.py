"""Translated kernels on an NVIDIA GPU; where there is none, only that nvcc takes them."""

import shutil
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from kernels import (
    HEAD,
    LANES,
    MATRICES,
    MEMORY,
    assert_lanes,
    assert_matrix_product,
    matrix_operands,
    matrix_operands_not_finite,
)

from fusedops.sim import SimulatorError, translate
from fusedops.sim.cuda import CudaLibrary, build
from fusedops.sim.cuda.compile import compile_cubin
from fusedops.sim.cuda.driver import driver

TYPES = {"float": np.float32, "half": np.float16, "bfloat": ml_dtypes.bfloat16}

pytestmark = pytest.mark.skipif(
    not (shutil.which("nvcc") or Path("/usr/local/cuda/bin/nvcc").exists()), reason="there is no nvcc"
)


@pytest.mark.parametrize("text", [LANES, MATRICES, MEMORY], ids=["lanes", "matrices", "memory"])
def test_compiles(text: str) -> None:
    cubin = compile_cubin(translate(text, "cuda").text, "sm_90")
    assert cubin.read_bytes()[:4] == b"\x7fELF"


# The bound of threads depends on the template's argument, and a branch on a function constant.
SPECIALISED = f"""{HEAD}
constant bool doubled [[function_constant(3)]];
template <int simdgroups>
[[kernel, max_total_threads_per_threadgroup(simdgroups * 32)]] void scale(
    device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {{
  if (doubled) x[i] *= 2;
}}
template [[host_name("scale")]] [[kernel]] decltype(scale<4>) scale<4>;
"""


def test_function_constants_can_be_compiled_in() -> None:
    texts = {value: translate(SPECIALISED, "cuda", constants={"doubled": value}) for value in (False, True)}
    assert [translation.constants for translation in texts.values()] == [(), ()]
    ptx = {value: compile_cubin(translation.text, "sm_90").read_bytes() for value, translation in texts.items()}
    assert len(ptx[False]) < len(ptx[True])  # which multiplies


def on_gpu(text: str) -> CudaLibrary:
    try:
        driver()
    except SimulatorError as error:
        pytest.skip(str(error))
    return build(text)


def test_lanes() -> None:
    assert_lanes(lambda kernel, buffers, **launch: on_gpu(LANES).run(kernel, buffers, **launch))


@pytest.mark.parametrize("a_type", TYPES)
@pytest.mark.parametrize("b_type", TYPES)
def test_matrix_product(a_type: str, b_type: str) -> None:
    operands = matrix_operands(TYPES[a_type], TYPES[b_type])
    on_gpu(MATRICES).run(f"multiply<{a_type}, {b_type}>", operands, threadgroups=(1,), threads_per_threadgroup=(32,))
    assert_matrix_product(*operands)


@pytest.mark.parametrize("name", TYPES)
def test_matrix_product_that_is_not_finite(name: str) -> None:
    """As every element by itself would have it: no NaN of infinity * 0 where infinity was multiplied by 1."""
    operands = matrix_operands_not_finite(TYPES[name])
    on_gpu(MATRICES).run(f"multiply<{name}, {name}>", operands, threadgroups=(1,), threads_per_threadgroup=(32,))
    assert_matrix_product(*operands)


def test_memory() -> None:
    library = on_gpu(MEMORY)
    x = np.arange(256, dtype=np.float32)
    out, total = np.full(256, np.nan, np.float32), np.zeros(1, np.uint32)
    launch: dict[str, Any] = {
        "threadgroups": (4,),
        "threads_per_threadgroup": (64,),
        "threadgroup_memory": {0: 256},
        "constants": {"factor": 3.0, "offset": np.uint32(7)},
    }
    library.run("memory", [x, out, total], **launch)
    np.testing.assert_array_equal(out, 3 * x.reshape(4, 64)[:, ::-1].ravel() + 7)
    assert total[0] == 256
    assert 0 < library.time("memory", [x, out, total], **launch) < 1
