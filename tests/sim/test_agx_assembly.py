"""What asahi_clc prints, read: on a text of the same form; no compiler is needed."""

import pytest

from fusedops.sim.agx import KernelCode, Loop
from fusedops.sim.agx.assembly import read
from fusedops.sim.errors import SimulatorError

EARLY = """block0 {
   1 = get_sr #30
} -> block1 

block1 {
   stop 
} from block0

"""
# An outer loop, blocks 1 to 4, around one of a single block; block 5 is after both.
FINAL = """block0 {
   r1 = get_sr #30
   r0l = mov_imm #0
} -> block1 

block1 {
   r2 = imad r2, u9, r1, #0
   r8...r11 = device_load u0:u1, r7.abs, xyzw, #0, slot 0
   wait #0, slot 0
} -> block2  from block0 block4

block2 {
   r4 = local_load r1, #0
   r2r3 = simd_matrix_fmadd32 r4r5, r6r7, r2r3
   r5 = exp2 r5
   while_icmp r6, u12, #0, n=1
} -> block2 block3  from block1 block2

block3 {
   stack_store r5, #4
   r5 = stack_load #4
   local_store r2, r1, #0
} -> block4  from block2

block4 {
   jmp_exec_any #109e2170
} -> block1 block5  from block3

block5 {
   device_store r2, u2:u3, r1.abs, x, #0, slot 0
   stop 
} from block4

"""
PREAMBLE = "block0 {\n   u12 = uniform_load\n   stop \n}\n\n"
STATISTICS = (
    "SHADER-DB:  - MESA_SHADER_COMPUTE shader: 14 inst, 20 alu, 20 fscib, 8 ic, 96 bytes, 23 regs, 27 uniforms, "
    "8 scratch, 832 threads, 2 loops, 1:2 spills:fills\n"
)


def test_statistics_and_loops() -> None:
    code = read("impl main {\n}\n" + EARLY * 2 + FINAL + PREAMBLE + STATISTICS, arrays=1, unroll_threshold=150)
    outer = Loop(
        depth=0,
        instructions=7,
        device_loads=1,
        device_stores=0,
        threadgroup_loads=0,
        threadgroup_stores=1,
        matrix_operations=0,
        spills=1,
        fills=1,
        issue_cycles=4 + 6,
    )
    inner = Loop(
        depth=1,
        instructions=4,
        device_loads=0,
        device_stores=0,
        threadgroup_loads=1,
        threadgroup_stores=0,
        matrix_operations=1,
        spills=0,
        fills=0,
        issue_cycles=1 + 18 + 4 + 1,
    )
    assert code == KernelCode(
        instructions=14,
        code_bytes=96,
        registers=23,
        uniforms=27,
        threads=832,
        spills=1,
        fills=2,
        scratch_bytes=8,
        loops=(outer, inner),
        arrays=1,
        unroll_threshold=150,
    )


@pytest.mark.parametrize("output", ["", STATISTICS, EARLY * 3], ids=["empty", "no code", "no statistics"])
def test_what_is_no_such_output(output: str) -> None:
    with pytest.raises(SimulatorError, match="asahi_clc printed no statistics"):
        read(output, arrays=0, unroll_threshold=150)
