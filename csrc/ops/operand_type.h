// The types of operands that kernels choose at run time.
#pragma once

#include <optional>
#include <stdexcept>

#include "core/array.h"
#include "metal/operand.h"

namespace fusedops {

inline OperandType operand_type(const std::optional<ArrayView>& array) {
  if (!array) return OPERAND_ABSENT;
  switch (array->dtype) {
    case DType::boolean:
      return OPERAND_BOOL;
    case DType::float32:
      return OPERAND_FLOAT;
    case DType::float16:
      return OPERAND_HALF;
    case DType::bfloat16:
      return OPERAND_BFLOAT;
    default:
      throw std::logic_error("kernels do not take " + std::string(name_of(array->dtype)));
  }
}

}  // namespace fusedops
