// The launch that is going on.
#pragma once
#include "registry.h"

namespace simulator {

const MslKernel& kernel();
const MslLaunch& arguments();

}  // namespace simulator
