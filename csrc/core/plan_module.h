// Plans for Python: which kernels would run, with what geometry. Used by explain(), by the simulator and by tests.
#pragma once

#include <nanobind/nanobind.h>

namespace fusedops {

void define_plans(nanobind::module_& m);

}  // namespace fusedops
