"""Every kind of mistake that the simulator promises to find is found, and named."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from fusedops.sim import Library, SimulatorError, build

THREADS = 64

KERNEL = """
kernel void {name}(device float* x [[buffer(0)]], constant uint& n [[buffer(1)]],
                   uint i [[thread_position_in_threadgroup]], uint lane [[thread_index_in_simdgroup]]) {{
  threadgroup float t[64];
  t[i] = 0;
  {body}
}}
"""
BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"

# name: (what stands in the kernel, what the log says)
FOUND_ALWAYS = {
    "divergent_barrier": (
        f"if (i < 32) {BARRIER}\nelse {BARRIER}",
        r"divergent threadgroup_barrier: some threads at .*:\d+, others at",
    ),
    "barrier_after_return": (f"if (i == 5) return; {BARRIER} x[i] = 1;", r"not reached by 1 thread\(s\)"),
    "partial_simd_operation": (f"if (lane < 7) x[i] = simd_sum(1.0f); {BARRIER}", "by lanes 0000007f only"),
    "divergent_simd_operation": (
        "if (lane & 1) x[i] = simd_sum(1.0f);\nelse x[i] = simd_max(2.0f);",
        "divergent SIMD-group operation: lanes aaaaaaaa",
    ),
    "simd_operation_after_return": ("if (lane == 3) return; x[i] = simd_sum(1.0f);", "after lanes 00000008 returned"),
    "shuffle_from_inactive": (
        f"if (lane < 8) x[i] = simd_shuffle(1.0f, 9); {BARRIER}",
        "shuffle reads an inactive or absent lane",
    ),
    "matrix_not_uniform": (
        "simdgroup_float8x8 m; simdgroup_load(m, x, lane); simdgroup_store(m, x);",
        "arguments differ between lanes",
    ),
    "matrix_in_part": (
        f"if (lane < 16) {{ simdgroup_float8x8 m; simdgroup_load(m, x); x[0] = m.thread_elements()[0]; }} {BARRIER}",
        "simdgroup matrix operation without all 32 lanes",
    ),
    "read_out_of_bounds": ("x[0] = x[n + 3];", r"byte offset 268 of buffer\(0\), which has 256 bytes"),
    "write_before_buffer": ("if (i == 0) x[-1] = 1;", r"write just outside buffer\(0\)"),
    "null_pointer": ("device float* p = (device float*)(ulong(n) - 64); *p = 1;", "null"),
    "division_by_zero": ("x[i] = n / (n - 64);", r"integer division by zero at .*:\d+"),
    "remainder_by_zero": ("x[i] = int(n) % int(n - 64);", r"integer division by zero at .*:\d+"),
    "misaligned_float4": (
        "float4 v = *(device float4*)(x + 1); x[i] = v.y;",
        r"misaligned access: an address 4 past .* of 16",
    ),
    "misaligned_half4": (
        "x[i] = float(((threadgroup half4*)((threadgroup half*)t + 1))[0].x);",
        r"misaligned access: an address 2 past .* of 8",
    ),
    "misaligned_struct": (
        "struct alignas(16) Pair { float2 a, b; }; ((device Pair*)(x + 2))->a = float2(i);",
        r"misaligned access: an address 8 past .* of 16",
    ),
    "misaligned_scalar": (
        "x[i] = *(device float*)((device char*)x + n - 62);",
        r"misaligned access: an address 2 past .* of 4",
    ),
    "too_much_threadgroup_memory": ("threadgroup float big[9000]; big[i] = 1; x[i] = big[i];", "the limit is 32768"),
    "far_too_much_threadgroup_memory": ("threadgroup float huge[100000]; huge[i] = 1;", "the limit is 32768"),
    "endless_loop": ("while (((device volatile float*)x)[0] == 0) {}", "time limit"),
    "endless_simd_loop": ("while (simd_any(n > 0)) {}", "time limit"),
    "stack_overflow": (
        "float a[80000]; for (int j = 0; j < 80000; j++) a[j] = x[j % n]; x[i] = a[n + i];",
        "stack overflow",
    ),
}

FOUND_BY_CHECK = {
    "one_past_the_end": ("if (i == 0) x[0] = ((device const char*)x)[n * 4];", r"byte offset 256 of buffer\(0\)"),
    "in_the_slack": ("x[0] = ((device const char*)x)[n * 4 + 3];", r"byte offset 259 of buffer\(0\)"),
    "write_in_the_slack": ("((device char*)x)[n * 4 + 1] = 0;", r"write outside every buffer at .*:\d+"),
    "far_out_of_bounds": ("x[i * 5000000] = 1;", "write outside every buffer"),
    "past_a_threadgroup_variable": (
        "threadgroup float u[4]; threadgroup float* p = u; p[4 + i % 2] = 1;",
        "write outside every threadgroup variable",
    ),
    "index_of_an_array": ("float a[4] = {1, 2, 3, 4}; x[i] = a[n - 60];", "index 4 out of bounds of"),
    "component_of_a_vector": ("float4 v = x[i]; x[i] = v[n - 59];", "index 5 out of bounds of"),
    "missing_barrier": ("t[i] = i; x[i] = t[63 - i];", "data race on threadgroup memory: a write and a read"),
    "wrong_barrier_flag": (
        "t[i] = i; threadgroup_barrier(mem_flags::mem_device); x[i] = t[63 - i];",
        "data race on threadgroup memory",
    ),
    "write_after_read": (f"{BARRIER} x[i] = t[63 - i]; t[i] = 1;", "data race on threadgroup memory"),
    "uninitialised": ("threadgroup float u[64]; x[i] = u[i];", r"read of uninitialised threadgroup memory at .*:\d+"),
    "device_race": ("x[i / 2] = i;", r"data race on buffer\(0\): a write and a write at .*:\d+"),
    "simd_operation_is_no_barrier": (
        "t[i] = i; float s = simd_sum(1.0f); x[i] = t[i ^ 1] + s;",
        "data race on threadgroup memory",
    ),
    "simdgroup_barrier_is_too_little": (
        "t[i] = i; simdgroup_barrier(mem_flags::mem_threadgroup); x[i] = t[63 - i];",
        "data race on threadgroup memory",
    ),
}

SOUND = f"t[i] = i; {BARRIER} x[i] = t[63 - i];"


@cache
def kernels(check: bool) -> Library:
    """All of the mistakes above, and a sound kernel, as kernels of one source."""
    bodies = {**FOUND_ALWAYS, **FOUND_BY_CHECK, "sound": (SOUND, "")}
    text = "".join(KERNEL.format(name=name, body=body) for name, (body, _) in bodies.items())
    return build("#include <metal_stdlib>\nusing namespace metal;\n" + text, check=check)


def launch(name: str, check: bool) -> np.ndarray:
    x = np.zeros(THREADS, np.float32)
    kernels(check).run(
        name,
        [x, np.uint32(THREADS)],
        threadgroups=(1,),
        threads_per_threadgroup=(THREADS,),
        time_limit=0.3 if name.startswith("endless") else 0,
    )
    return x


def assert_still_works(check: bool) -> None:
    np.testing.assert_array_equal(launch("sound", check), np.arange(THREADS)[::-1])


@pytest.mark.parametrize("check", [False, True], ids=["plain", "checked"])
@pytest.mark.parametrize("name", FOUND_ALWAYS)
def test_found_always(name: str, check: bool) -> None:
    with pytest.raises(SimulatorError, match=FOUND_ALWAYS[name][1] if not check else None):
        launch(name, check)
    assert_still_works(check)


@pytest.mark.parametrize("name", FOUND_BY_CHECK)
def test_found_by_check(name: str) -> None:
    with pytest.raises(SimulatorError, match=FOUND_BY_CHECK[name][1]):
        launch(name, check=True)
    assert_still_works(check=True)


def test_race_between_threadgroups() -> None:
    x = np.zeros(THREADS, np.float32)
    with pytest.raises(SimulatorError, match=r"threads \d+ and \d+ of different threadgroups"):
        kernels(True).run("sound", [x, np.uint32(1)], threadgroups=(2,), threads_per_threadgroup=(THREADS,))


def test_what_is_not_bound() -> None:
    with pytest.raises(SimulatorError, match=r"buffer\(1\) 'n' is not bound"):
        kernels(False).run("sound", [np.zeros(4, np.float32)], threadgroups=(1,))
    with pytest.raises(SimulatorError, match="no kernel 'unknown'"):
        kernels(False).run("unknown", [], threadgroups=(1,))
    with pytest.raises(ValueError, match="2048 threads per threadgroup, the limit is 1024"):
        kernels(False).run("sound", [], threadgroups=(1,), threads_per_threadgroup=(2048,))


def test_place_is_that_of_the_metal_text(tmp_path: Path) -> None:
    file = tmp_path / "racy.metal"
    body = "float4 v = 0;\n\n  ((device float4*)x)[i / 2] = v;"  # within the shim's copy of a vector, too
    file.write_text("#include <metal_stdlib>\nusing namespace metal;" + KERNEL.format(name="racy", body=body))
    x = np.zeros(4 * THREADS, np.float32)
    with pytest.raises(SimulatorError, match=r"a write and a write at \S*racy\.metal:9 "):
        build(file, check=True).run("racy", [x, np.uint32(1)], threadgroups=(1,), threads_per_threadgroup=(THREADS,))


REJECTED = {
    "double": "double d = 1; x[i] = d;",
    "printf": 'printf("%f", x[i]);',
    "std": "x[i] = std::max(1, 2);",
    "erf": "x[i] = erf(x[i]);",
    "new": "float* p = new float[2]; x[i] = p[0];",
    "bfloat_from_float": "bfloat b = 1.0f; x[i] = b;",
    "half_from_bfloat": "bfloat b = 1; half h = b; x[i] = h;",
    "simd_sum_of_64_bits": "x[i] = simd_sum(ulong(i));",
    "shuffle_of_bfloat": "x[i] = simd_shuffle(bfloat(x[i]), 0);",
    "ambiguous_max": "half h = 1; x[i] = max(h, 1.0f);",
    "as_type_of_another_size": "x[i] = as_type<float>(half(1));",
    "write_to_constant": "n = 1;",
    "too_many_components": "float2 v = float2(1, 2, 3); x[i] = v.x;",
    "simdgroup_load_that_converts": "simdgroup_half8x8 m; simdgroup_load(m, x);",
    "matrix_of_another_shape": "simdgroup_matrix<float, 4, 4> m;",
    "vectors_of_two_types": "half4 h = 1; float4 v = h; x[i] = v.x;",
}


@pytest.mark.parametrize("name", REJECTED)
def test_rejected(name: str, tmp_path: Path) -> None:
    file = tmp_path / "rejected.metal"
    file.write_text("#include <metal_stdlib>\nusing namespace metal;" + KERNEL.format(name=name, body=REJECTED[name]))
    with pytest.raises(SimulatorError, match=rf"(?m)^{file}:7:"):
        build(file)
