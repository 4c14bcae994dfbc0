// The forms of GELU by number. Shared by host and shader.
#pragma once

#ifndef __METAL_VERSION__
#include <cstdint>
#endif

enum GeluFormNumber : int32_t {
  GELU_NONE = 0,     // x Phi(x), Phi by the error function
  GELU_TANH = 1,     // 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
  GELU_SIGMOID = 2,  // x sigmoid(1.702 x)
};
