// The executor that runs an operator's tasks on torch's threads.
#pragma once

#include "cpu/executor.h"

namespace fusedops::torch {

cpu::Executor& threads();

}  // namespace fusedops::torch
