// The launch that is going on.
#pragma once
#include "registry.h"

namespace simulator {

const Kernel& kernel();
const MslLaunch& arguments();

}  // namespace simulator
