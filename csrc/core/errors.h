// The two errors that bad input raises. Each module translates them to Python's ValueError and TypeError.
#pragma once

#include <stdexcept>

namespace fusedops {

struct ValueError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

struct TypeError : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

}  // namespace fusedops
