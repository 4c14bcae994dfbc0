// Types of operands that are chosen at run time: the mask's, the sinks', ... . Shared by host and shader.
#pragma once

#ifndef __METAL_VERSION__
#include <cstdint>
#endif

enum OperandType : int32_t {
  OPERAND_ABSENT = 0,
  OPERAND_BOOL = 1,
  OPERAND_FLOAT = 2,
  OPERAND_HALF = 3,
  OPERAND_BFLOAT = 4,
};
