"""Teach Mesa 25.0.7's compiler for Apple's GPUs the instruction for products of 8x8 matrices, simd_matrix_fmadd32.

Its encoding is that of dougallj's applegpu. Mesa's intermediate language has nothing for it but dpas_intel, which no
driver for Apple's GPUs uses: it takes the accumulator, a and b, of which a lane holds two elements each, and five
numbers that are ignored. C++ for OpenCL calls it as a function that is defined nowhere, nir_dpas_intel (sim/shim/agx).

Usage: matrix_instruction.py MESA, the folder of its unedited source.
"""

import sys
from pathlib import Path


def insert(path: Path, before: str, text: str, start: str = "") -> None:
    """Insert text before the first place where `before` stands, after `start`; Mesa's of another version fails."""
    old = path.read_text()
    begin = old.index(start)
    place = old.index(before, begin)
    path.write_text(old[:place] + text + old[place:])


def main() -> None:
    compiler = Path(sys.argv[1]) / "src/asahi/compiler"
    insert(
        compiler / "agx_opcodes.py",
        'op("icmpsel",',
        """op("simd_matrix_fmadd32",
      encoding = (0x6F | (1 << 26) | (1 << 27) | (1 << 63), 0, 8, _), srcs = 3)

""",
    )
    insert(
        compiler / "agx_compile.c",
        "   case nir_intrinsic_quad_broadcast: {",
        """   case nir_intrinsic_dpas_intel: {
      agx_instr *matrix = agx_simd_matrix_fmadd32_to(
         b, dst, agx_src_index(&instr->src[1]), agx_src_index(&instr->src[2]),
         agx_src_index(&instr->src[0]));
      agx_emit_cached_split(b, dst, 2);
      return matrix;
   }

""",
    )
    insert(
        compiler / "agx_performance.c",
        "   // XXX: check this",
        "   [AGX_OPCODE_SIMD_MATRIX_FMADD32] = { SCIB, 36, 18 },\n",
    )
    # How many registers it writes and reads: as many as its operands have.
    for function, operand in (("agx_write_registers(const", "dest[d]"), ("agx_read_registers(const", "src[s]")):
        case = f"   case AGX_OPCODE_SIMD_MATRIX_FMADD32:\n      return agx_index_size_16(I->{operand});\n"
        insert(compiler / "agx_validate.c", "   case ", case, start=function)


if __name__ == "__main__":
    main()
