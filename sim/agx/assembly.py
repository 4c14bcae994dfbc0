"""What asahi_clc prints of a kernel, read: its statistics, and instructions, loops and throughputs of its code."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import SimulatorError

# Cycles for which an instruction of a SIMD-group keeps one of a core's four schedulers, as measured by
# https://github.com/philipturner/metal-benchmarks. Others take one, or have not been measured: loads among them.
_CYCLES = {
    **dict.fromkeys(("imad", "bfi", "bfeil", "extr", "asr", "popcount", "ffs"), 4),
    **dict.fromkeys(("floor", "ceil", "trunc", "roundeven", "exp2", "log2"), 4),
    "rcp": 6,
    "rsqrt": 8,
    "srsqrt": 8,
    "shuffle": 2,
    "simd_reduce": 15,
    "simd_matrix_fmadd32": 18,
}
_MATRIX = "simd_matrix_fmadd32"

_STATISTICS = re.compile(
    r"SHADER-DB: .*?(?P<instructions>\d+) inst, .*?(?P<code_bytes>\d+) bytes, (?P<registers>\d+) regs, "
    r"(?P<uniforms>\d+) uniforms, (?P<scratch_bytes>\d+) scratch, (?P<threads>\d+) threads, .*?"
    r"(?P<spills>\d+):(?P<fills>\d+) spills:fills"
)
_BLOCK = re.compile(r"^block(\d+) \{")
_BLOCK_END = re.compile(r"^\}(?: ->((?: block\d+)+))?")
_INSTRUCTION = re.compile(r"^   (?:[^=]*? = )?([a-z_0-9]+)(?: |$)")


@dataclass(frozen=True)
class Loop:
    """What one pass of a loop takes if it takes every branch, without the loops inside of it.

    Attributes:
        depth: How many loops it lies in.
        instructions: In its text.
        device_loads, device_stores, threadgroup_loads, threadgroup_stores: Instructions, of up to four components each.
        matrix_operations: Multiply-adds of 8x8 matrices; 0 with a compiler that does not know them.
        spills, fills: Stores to and loads from the stack, where spilled registers are and arrays that no register took.
        issue_cycles: Of a SIMD-group on its scheduler, by published throughputs.
    """

    depth: int
    instructions: int
    device_loads: int
    device_stores: int
    threadgroup_loads: int
    threadgroup_stores: int
    matrix_operations: int
    spills: int
    fills: int
    issue_cycles: int


@dataclass(frozen=True)
class KernelCode:
    """A kernel as Mesa compiles it for M1 and M2.

    Attributes:
        instructions: In the text.
        code_bytes: Their size.
        registers: Of a thread, 16 bits each: at most 256.
        uniforms: 16-bit registers that a threadgroup's threads share.
        threads: That a core holds at once with so many registers.
        spills, fills: As for a loop, in the whole text.
        scratch_bytes: Of a thread's stack.
        loops: In the order of the text, an outer one before its inner ones.
        arrays: Of a thread that LLVM left, since a loop over them is not unrolled. Mesa puts small ones into registers,
            at the cost of instructions; others cost spills and fills.
        unroll_threshold: With which LLVM came to it.
    """

    instructions: int
    code_bytes: int
    registers: int
    uniforms: int
    threads: int
    spills: int
    fills: int
    scratch_bytes: int
    loops: tuple[Loop, ...]
    arrays: int
    unroll_threshold: int

    @property
    def longest_loop(self) -> Loop | None:
        """The one with the most issue cycles, which may be a rare one; None where there is none."""
        return max(self.loops, key=lambda loop: loop.issue_cycles, default=None)


@dataclass(frozen=True)
class _Block:
    instructions: list[str]
    successors: list[int]


def read(output: str, arrays: int, unroll_threshold: int) -> KernelCode:
    """What asahi_clc printed of one kernel, told AGX_MESA_DEBUG=shaders,shaderdb. SimulatorError: it is not that."""
    found = list(_STATISTICS.finditer(output))
    blocks = _final_blocks(output)
    if not found or not blocks:
        raise SimulatorError("asahi_clc printed no statistics: it is of another version than docs/agx.md builds")
    numbers = {name: int(value) for name, value in found[-1].groupdict().items()}
    return KernelCode(**numbers, loops=_loops(blocks), arrays=arrays, unroll_threshold=unroll_threshold)


def _final_blocks(output: str) -> list[_Block]:
    """The blocks of the kernel as it was last printed before its statistics: its registers are assigned there.

    Mesa prints each function more than once, and then a preamble, which runs once for the whole grid.
    """
    dumps: list[list[_Block]] = []
    instructions: list[str] | None = None
    for line in output.splitlines():
        if match := _BLOCK.match(line):
            if match[1] == "0":
                dumps.append([])
            instructions = []
        elif instructions is not None and (match := _BLOCK_END.match(line)):
            dumps[-1].append(_Block(instructions, [int(number) for number in re.findall(r"\d+", match[1] or "")]))
            instructions = None
        elif instructions is not None and (match := _INSTRUCTION.match(line)):
            instructions.append(match[1])
    return dumps[2] if len(dumps) > 2 else []


def _loops(blocks: list[_Block]) -> tuple[Loop, ...]:
    """A loop is a range of blocks, for Mesa keeps them in the order of the source."""
    ends: dict[int, int] = {}
    for index, block in enumerate(blocks):
        for first in block.successors:
            if first <= index:
                ends[first] = max(index, ends.get(first, 0))
    ranges = [range(first, last + 1) for first, last in sorted(ends.items())]
    return tuple(_loop(blocks, ranges, each) for each in ranges)


def _loop(blocks: list[_Block], ranges: list[range], loop: range) -> Loop:
    inner = [other for other in ranges if other != loop and other[0] in loop and other[-1] in loop]
    counts = Counter(_instructions(blocks, [i for i in loop if not any(i in other for other in inner)]))
    return Loop(
        depth=sum(loop != other and loop[0] in other and loop[-1] in other for other in ranges),
        instructions=counts.total(),
        device_loads=counts["device_load"],
        device_stores=counts["device_store"],
        threadgroup_loads=counts["local_load"],
        threadgroup_stores=counts["local_store"],
        matrix_operations=counts[_MATRIX],
        spills=counts["stack_store"],
        fills=counts["stack_load"],
        issue_cycles=sum(count * _CYCLES.get(name, 1) for name, count in counts.items()),
    )


def _instructions(blocks: list[_Block], indices: list[int]) -> Iterator[str]:
    for index in indices:
        yield from blocks[index].instructions
