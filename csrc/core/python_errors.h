// Turns the core's errors into Python's. Every nanobind module calls this once.
#pragma once

#include <nanobind/nanobind.h>

#include "core/errors.h"

namespace fusedops {

inline void register_python_errors() {
  nanobind::register_exception_translator([](const std::exception_ptr& pointer, void*) {
    try {
      std::rethrow_exception(pointer);
    } catch (const TypeError& error) {
      PyErr_SetString(PyExc_TypeError, error.what());
    } catch (const ValueError& error) {
      PyErr_SetString(PyExc_ValueError, error.what());
    }
  });
}

}  // namespace fusedops
